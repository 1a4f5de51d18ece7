"""The command line's tools."""
