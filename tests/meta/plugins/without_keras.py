"""As on a machine where only torch's half is installed."""

from onnx_conformance.session import cache_keys

cache_keys.FRAMEWORK_MODULES["keras"] = "a_framework_that_is_not_installed"
