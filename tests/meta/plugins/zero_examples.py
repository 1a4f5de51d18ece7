"""A Hypothesis profile that asks for no example."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests():
    """Once the suite's plugin is loaded, whose asserts pytest rewrites as it imports it."""
    result = yield
    from onnx_conformance.plugin import configuration

    configuration.PROFILES["default"] = 0
    return result
