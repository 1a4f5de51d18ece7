"""Frozen records and pure functions; imports nothing else of this library."""
