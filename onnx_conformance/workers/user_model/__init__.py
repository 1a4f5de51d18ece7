"""Imports a user's models, builds them and says what they are."""
