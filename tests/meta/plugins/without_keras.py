"""As on a machine where only torch's half is installed."""

from fixtures.pipeline import keys

keys.FRAMEWORK_MODULES["keras"] = "a_framework_that_is_not_installed"
