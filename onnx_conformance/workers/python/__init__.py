"""Plain Python callables in the native model's place."""
