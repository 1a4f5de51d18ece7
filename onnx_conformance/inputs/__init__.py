"""What models are fed: recipes, strategies that draw them, pinned and real samples."""
