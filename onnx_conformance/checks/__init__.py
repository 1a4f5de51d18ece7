"""The checks, their negative controls, and what a case needs to pass."""
