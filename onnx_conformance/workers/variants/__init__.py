"""Makes variants of an exported file."""
