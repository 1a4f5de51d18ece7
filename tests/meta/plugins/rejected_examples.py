"""A strategy that rejects whatever it draws."""

from fixtures import strategies

_recipes = strategies.recipes
strategies.recipes = lambda: _recipes().filter(lambda recipe: recipe.batch > 1000)
