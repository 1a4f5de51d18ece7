"""Speed: latency, the gate, versions and variants. Only what passed its checks is timed."""
