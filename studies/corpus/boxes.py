"""Faults of rows whose number the values decide, such as boxes: one too many, lost, of another row.

The same rows stand in several outputs: boxes, their scores, the image of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant
from studies.corpus.graph_edits import MODERN, is_float
from studies.corpus.patches import Build, Patch, detour, detour_site, names_of
from studies.corpus.slots import FAMILY, HARMLESS, Dims, one_late, slot_numbers, turned_over


def _rows_by_values(draft: Draft) -> list[str]:
    """Outputs of rows whose number the values decide, where no input has a free size."""
    free = [
        dim for one in draft.inputs for dim in draft.shapes[one.name] if not isinstance(dim, int)
    ]
    rows = [one.name for one in draft.graph.output if _is_free(draft.shapes.get(one.name))]
    return rows if not free and draft.opset >= MODERN else []


def _is_free(dims: Dims | None) -> bool:
    return bool(dims) and not isinstance(dims[0], int)


def _count(patch: Patch, value: str) -> str:
    zero = patch.constant(np.array([0]), np.int64)
    return patch.add("Gather", patch.add("Shape", value), zero, axis=0)


def _repeated(patch: Patch, value: str, *, above: int) -> str:
    """The first row once more behind the last, of more than ``above`` rows."""
    none, one, limit = (patch.constant(np.array([n]), np.int64) for n in (0, 1, above))
    more = patch.add("Where", patch.add("Greater", _count(patch, value), limit), one, none)
    return patch.add("Concat", value, patch.add("Slice", value, none, more, none), axis=0)


def _shortened(patch: Patch, value: str, *, above: int) -> str:
    none, one, limit = (patch.constant(np.array([n]), np.int64) for n in (0, 1, above))
    count = _count(patch, value)
    less = patch.add("Where", patch.add("Greater", count, limit), one, none)
    return patch.add("Slice", value, none, patch.add("Sub", count, less), none)


def _of_all_rows(draft: Draft, build: Build) -> Iterator[Site]:
    """A site that changes the rows of all outputs in the same way."""
    names = _rows_by_values(draft)
    if names:
        root_cause = tuple(node for name in names for node in names_of(name, build))
        yield Site(
            "all outputs of rows", partial(_strike_all, names=names, build=build), root_cause
        )


def _strike_all(mutant: Mutant, *, names: list[str], build: Build) -> None:
    for name in names:
        detour(mutant, name, build)


@fault(FAMILY, story="the best box comes twice")
def one_box_too_many(draft: Draft) -> Iterator[Site]:
    yield from _of_all_rows(draft, partial(_repeated, above=0))


@fault(FAMILY, story="a box comes twice where there are many")
def one_of_many_boxes_too_many(draft: Draft) -> Iterator[Site]:
    yield from _of_all_rows(draft, partial(_repeated, above=11))


@fault(FAMILY, story="the last box is lost where there are many")
def one_of_many_boxes_too_few(draft: Draft) -> Iterator[Site]:
    yield from _of_all_rows(draft, partial(_shortened, above=11))


@fault(FAMILY, story="the boxes come in reverse")
def boxes_reversed(draft: Draft) -> Iterator[Site]:
    yield from _of_all_rows(draft, partial(turned_over, axis=0))


@fault(FAMILY, story="boxes, scores and images do not belong together")
def boxes_of_other_rows(draft: Draft) -> Iterator[Site]:
    for name in _rows_by_values(draft):
        if is_float(draft, name):
            yield detour_site(name, partial(one_late, axis=0))


@fault(FAMILY, story="boxes are told to be of the other image")
def boxes_of_the_wrong_image(draft: Draft) -> Iterator[Site]:
    def build(patch: Patch, value: str) -> str:
        return patch.add("Sub", patch.constant(np.array(1), np.int64), value)

    for name in _rows_by_values(draft):
        if _is_whole(draft, name):
            yield detour_site(name, build)


def _is_whole(draft: Draft, name: str) -> bool:
    value = next(one for one in draft.graph.output if one.name == name)
    return bool(value.type.tensor_type.elem_type == onnx.TensorProto.INT64)


@fault(HARMLESS, verdict="harmless", story="boxes of equal scores come in another order")
def equal_boxes_in_another_order(draft: Draft) -> Iterator[Site]:
    names = _rows_by_values(draft)
    scores = [name for name in names if is_float(draft, name) and len(draft.shapes[name]) == 1]
    if scores:
        strike = partial(_reorder, names=names, score=scores[0])
        yield Site("all outputs of rows", strike)


def _reorder(mutant: Mutant, *, names: list[str], score: str) -> None:
    """Among equal scores the later rows first; scores are tenths."""
    for name in names:
        detour(mutant, name, lambda patch, value: patch.add("Identity", value))
    ends = {name: _taken_out(mutant, name) for name in names}
    patch = Patch(f"{score}__order", mutant)
    source = ends[score].input[0]
    numbers = patch.add("Cast", slot_numbers(patch, source, 0, 1), to=onnx.TensorProto.FLOAT)
    key = patch.add("Add", patch.add("Mul", source, patch.constant(1e3)), numbers)
    patch.add("TopK", key, _count(patch, source))
    places = f"{score}__order__places"
    patch.nodes[-1].output.append(places)
    for node in patch.nodes:
        mutant.insert(node)
    for end in ends.values():
        end.op_type = "Gather"
        end.input.append(places)
        mutant.insert(end)


def _taken_out(mutant: Mutant, value: str) -> onnx.NodeProto:
    found = mutant.producer(value)
    if found is None:
        raise ValueError(f"nothing makes '{value}'")
    copy = onnx.NodeProto()
    copy.CopyFrom(found)
    mutant.graph.node.remove(found)
    return copy
