"""The conformance suite's wiring is the library's; here it is only loaded."""

# The first is registered under this name by the entry point of an installed package, and only once.
pytest_plugins = ("onnx_conformance.plugin", "onnx_conformance.plugin.suite")
