"""How fast: latency, the gate, versions and variants. Only what passed is timed."""
