"""The pytest plugin: the fixture ``certify``, which the entry point brings, and the suite's hooks.

This module is loaded in every pytest run of an environment that has the package: it adds no
option, marker or warning filter, and imports nothing before a test asks for its fixture. Options,
hooks and fixtures of the conformance suite are :mod:`onnx_conformance.plugin.suite`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from onnx_conformance.api import Certification


@pytest.fixture(scope="session")
def certify() -> Iterator[Callable[..., Certification]]:
    """:func:`onnx_conformance.certify`, for tests of an export.

    Example::

        def test_export(certify):
            certify(my_model, TensorSpec("x", ("batch", 16))).require()
    """
    from onnx_conformance.api import certify
    from onnx_conformance.run.worker_queue import WorkerPool

    pool = WorkerPool()  # ONNX Runtime is started once for all tests

    def certified(*arguments: Any, **options: Any) -> Certification:
        __tracebackhide__ = True  # of bad input, the caller's line is shown
        with pool.lent():
            return certify(*arguments, **options)

    yield certified
    pool.close()
