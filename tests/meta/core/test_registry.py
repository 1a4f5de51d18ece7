"""Names: a duplicate or unknown one is an error that lists the known ones."""

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.registry import Registry, registering


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


def test_what_a_run_registers_can_be_taken_back():
    registry = Registry("thing")
    registry.register("kept", 1)
    registry.register("replaced", 2)

    def change():
        registry.put("replaced", 3)
        registry.register("added", 4)
        return "done"

    result, take_back = registering(change, registry)
    registry.register("later", 5)
    assert (result, {name: registry[name] for name in registry}) == (
        "done",
        {"kept": 1, "replaced": 3, "added": 4, "later": 5},
    )
    take_back()
    assert {name: registry[name] for name in registry} == {"kept": 1, "replaced": 2, "later": 5}


def test_where_registering_fails_nothing_is_left():
    registry = Registry("thing")

    def change():
        registry.register("added", 1)
        registry.register("added", 2)

    with pytest.raises(UsageError, match="registered twice"):
        registering(change, registry)
    assert [*registry] == []
