"""Names: a duplicate or unknown one is an error that lists the known ones."""

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.registry import Registry


def test_unknown_name_lists_the_known_ones():
    registry = Registry("fruit")
    registry.register("apple", 1)
    registry.register("pear", 2)
    with pytest.raises(UsageError, match="unknown fruit 'plum'; known: apple, pear"):
        registry["plum"]


def test_duplicate_name_is_refused():
    registry = Registry("fruit")
    registry.register("apple", 1)
    with pytest.raises(UsageError, match="'apple' is registered twice"):
        registry.register("apple", 2)
