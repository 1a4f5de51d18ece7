"""Imports user models, builds them and returns their specs."""
