"""A Hypothesis profile that asks for no example."""

from onnx_conformance.plugin import options

options.PROFILES["default"] = 0
