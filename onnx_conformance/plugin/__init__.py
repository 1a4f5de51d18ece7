"""The pytest plugin: options, hooks, fixtures."""
