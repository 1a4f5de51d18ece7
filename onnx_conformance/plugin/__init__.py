"""The pytest plugin: the fixture ``certify``, which the entry point brings, and the suite's hooks.

This module is loaded in every pytest run of an environment that has the package: it adds no
option, marker or warning filter, and imports nothing before a test asks for its fixture. Options,
hooks and fixtures of the conformance suite are :mod:`onnx_conformance.plugin.suite`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_conformance.api import Certification


@pytest.fixture(scope="session")
def certify() -> Callable[..., Certification]:
    """:func:`onnx_conformance.certify`, for tests of an export::

    def test_export(certify):
        certify(my_model, TensorSpec("x", ("batch", 16))).require()
    """
    from onnx_conformance.api import certify

    return certify
