"""A worker of xdist that dies in the middle of a test."""

import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    if "test_opset" in item.nodeid and hasattr(item.config, "workerinput"):
        os._exit(9)
