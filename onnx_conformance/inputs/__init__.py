"""Inputs of models: recipes, strategies that draw them, pinned and real samples."""
