"""Equivalent rewrites of where constants live, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from onnx import helper, numpy_helper

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant, replace_input

FAMILY = "harmless: file"


@fault(FAMILY, verdict="harmless", story="weights become Constant nodes, as old exporters write")
def initialiser_made_a_constant(draft: Draft) -> Iterator[Site]:
    for name in draft.arrays:
        yield Site(name, partial(_make_constants, names=(name,)))
    if draft.arrays:
        yield Site("all initialisers", partial(_make_constants, names=tuple(draft.arrays)))


@fault(FAMILY, verdict="harmless", story="Constant nodes become initialisers, as optimisers do")
def constant_made_an_initialiser(draft: Draft) -> Iterator[Site]:
    found = [n.name for n in draft.nodes("Constant") if draft.is_constant(n.output[0])]
    for name in found:
        yield Site(name, partial(_make_initialisers, nodes=(name,)))
    if found:
        yield Site("all constants", partial(_make_initialisers, nodes=tuple(found)))


@fault(FAMILY, verdict="harmless", story="a buffer that inference does not read is exported")
def unused_initialiser_added(draft: Draft) -> Iterator[Site]:
    yield Site("num_batches_tracked", _add_unused_initialiser)


@fault(
    FAMILY,
    verdict="harmless",
    story="a tool stores equal constants once",
    link="https://github.com/pytorch/pytorch/pull/68202",
)
def equal_initialisers_shared(draft: Draft) -> Iterator[Site]:
    names = _repeated(draft.arrays)
    if names:
        yield Site(", ".join(names)[:80], partial(_share, names=names))


@fault(
    FAMILY,
    verdict="harmless",
    story="each node gets a copy of a constant that several share",
    link="https://github.com/pytorch/pytorch/issues/108342",
)
def shared_initialiser_copied(draft: Draft) -> Iterator[Site]:
    for name in draft.arrays:
        readers = draft.consumers(name)
        if len(readers) > 1:
            strike = partial(_copy_for, name=name, node=readers[-1].name)
            yield Site(name, strike)


def _make_constants(mutant: Mutant, *, names: tuple[str, ...]) -> None:
    for name in names:
        tensor = numpy_helper.from_array(mutant.arrays.pop(name), name)
        old = next(one for one in mutant.graph.initializer if one.name == name)
        mutant.graph.initializer.remove(old)
        for value in [one for one in mutant.graph.input if one.name == name]:
            mutant.graph.input.remove(value)
        node = helper.make_node("Constant", [], [name], name=f"Constant_{name}", value=tensor)
        mutant.graph.node.insert(0, node)


def _make_initialisers(mutant: Mutant, *, nodes: tuple[str, ...]) -> None:
    for name in nodes:
        node = mutant.node(name)
        array = mutant.array(node.output[0])
        mutant.graph.node.remove(node)
        mutant.add_array(node.output[0], array)


def _add_unused_initialiser(mutant: Mutant) -> None:
    mutant.add_array(
        "num_batches_tracked", numpy_helper.to_array(helper.make_tensor("", 7, [], [3]))
    )


def _repeated(arrays: dict[str, Array]) -> dict[str, str]:
    """Names of arrays that repeat an earlier one, with the earlier one's name."""
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    found = {}
    for name, array in arrays.items():
        kept = first.setdefault((str(array.dtype), array.shape, array.tobytes()), name)
        if kept != name:
            found[name] = kept
    return found


def _share(mutant: Mutant, *, names: dict[str, str]) -> None:
    for node in mutant.graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
    for tensor in [one for one in mutant.graph.initializer if one.name in names]:
        mutant.graph.initializer.remove(tensor)


def _copy_for(mutant: Mutant, *, name: str, node: str) -> None:
    replace_input(mutant.node(node), name, mutant.add_array(f"{name}__copy", mutant.array(name)))
