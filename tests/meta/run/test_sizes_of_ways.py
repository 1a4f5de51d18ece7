"""Native's own ways that answer arrays of unlike sizes."""

import numpy as np

from onnx_conformance.core.budget import Reference
from onnx_conformance.run.live_subject import _unlike_sizes


def reference(oracle, native, replica):
    arrays = ({"kept": np.zeros((1, size, 4))} for size in (oracle, native, replica))
    first, second, third = arrays
    return Reference(first, second, (third,))


def test_sizes_that_hang_on_a_rounding_are_told_and_prove_nothing():
    assert not _unlike_sizes(reference(3, 3, 3))
    for unlike in (reference(3, 2, 3), reference(3, 3, 4)):
        assert "the size of 'kept' hangs on a rounding" in _unlike_sizes(unlike)
