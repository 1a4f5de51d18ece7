"""The reader of external artifacts."""
