"""Models that nobody here chose: `README.md` says what is measured, and what an entry holds."""
