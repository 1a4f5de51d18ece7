"""Files that break the contract: names, number, dtypes and shapes of inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant
from studies.corpus.graph_edits import is_float, known_sizes
from studies.corpus.name_edits import rename_value
from studies.corpus.patches import Build, Patch, detour

FAMILY = "structure"


@fault(FAMILY, story="output_names is not passed on: callers ask for a name that is not there")
def output_renamed(draft: Draft) -> Iterator[Site]:
    for value in draft.graph.output:
        yield Site(value.name, partial(rename_value, old=value.name, new="another_output"))


@fault(FAMILY, story="input_names is not passed on: callers inputs a name that is not there")
def input_renamed(draft: Draft) -> Iterator[Site]:
    for value in draft.inputs:
        yield Site(value.name, partial(rename_value, old=value.name, new="another_input"))


@fault(
    FAMILY,
    story="a dict of outputs is flattened in another order",
    link="https://github.com/pytorch/pytorch/issues/165758",
)
def outputs_reordered(draft: Draft) -> Iterator[Site]:
    if len(draft.graph.output) > 1:
        yield Site("outputs", _reorder_outputs)


@fault(
    FAMILY,
    story="two outputs' names are exchanged",
    link="https://github.com/FocoosAI/focoos/issues/118",
)
def output_names_exchanged(draft: Draft) -> Iterator[Site]:
    if len(draft.graph.output) > 1:
        one, two = (draft.graph.output[place].name for place in (0, -1))
        yield Site(f"{one}, {two}", partial(_exchange_names, one=one, two=two))


@fault(
    FAMILY,
    story="an auxiliary head or a layer that is watched is left among the outputs",
    link="https://github.com/ultralytics/yolov5/issues/1768",
)
def output_too_many(draft: Draft) -> Iterator[Site]:
    outputs = [value.name for value in draft.graph.output]
    for node in draft.nodes():
        value = node.output[0] if node.output else ""
        if value and value not in outputs and known_sizes(draft, value) and is_float(draft, value):
            yield Site(value, partial(_add_output, value=value, shape=draft.shapes[value]))


@fault(FAMILY, story="only the first of a tuple of outputs is exported")
def output_missing(draft: Draft) -> Iterator[Site]:
    if len(draft.graph.output) > 1:
        for value in draft.graph.output:
            yield Site(value.name, partial(_remove_output, name=value.name))


@fault(
    FAMILY,
    story="a NumPy constant without a dtype makes the end of the graph double",
    link="https://github.com/pytorch/pytorch/issues/81869",
)
def output_made_float64(draft: Draft) -> Iterator[Site]:
    yield from _output_cast(draft, TensorProto.DOUBLE)


@fault(FAMILY, story="autocast is on during export: the output is half precision")
def output_made_float16(draft: Draft) -> Iterator[Site]:
    yield from _output_cast(draft, TensorProto.FLOAT16)


@fault(FAMILY, story="a preprocessing step in double is exported with the model: it wants float64")
def input_made_float64(draft: Draft) -> Iterator[Site]:
    for value in draft.inputs:
        if is_float(draft, value.name):
            strike = partial(_retype_input, name=value.name, dtype=TensorProto.DOUBLE)
            yield Site(value.name, strike)


@fault(FAMILY, story="an unsqueeze that is meant for another framework adds an axis")
def output_with_an_axis_too_many(draft: Draft) -> Iterator[Site]:
    for value in draft.graph.output:
        sizes = known_sizes(draft, value.name)
        if sizes and draft.opset >= 13:
            strike = partial(_reshape_output, name=value.name, sizes=(*sizes, 1))
            yield Site(value.name, strike)


@fault(FAMILY, story="squeeze or flatten takes an axis of the output away")
def output_with_an_axis_too_few(draft: Draft) -> Iterator[Site]:
    for value in draft.graph.output:
        sizes = known_sizes(draft, value.name)
        if sizes is not None and draft.producer(value.name) is not None:
            fewer = tuple(np.array([np.prod(sizes)], int).tolist()) if len(sizes) > 1 else ()
            strike = partial(_reshape_output, name=value.name, sizes=fewer)
            yield Site(value.name, strike)


@fault(FAMILY, story="an argument that the traced model does not use is an input all the same")
def input_without_a_use(draft: Draft) -> Iterator[Site]:
    yield Site("unused_input", _add_input)


@fault(FAMILY, story="shape inference of another version: the output's declared size is off by one")
def output_declared_with_another_size(draft: Draft) -> Iterator[Site]:
    for value in draft.graph.output:
        if known_sizes(draft, value.name):
            yield Site(value.name, partial(_declare_larger, name=value.name))


def _reorder_outputs(mutant: Mutant) -> None:
    values = list(mutant.graph.output)[::-1]
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in values]
    del mutant.graph.output[:]
    mutant.graph.output.extend(copies)


def _exchange_names(mutant: Mutant, *, one: str, two: str) -> None:
    for old, new in ((one, "between_names"), (two, one), ("between_names", two)):
        rename_value(mutant, old=old, new=new)
    _reorder_outputs(mutant)


def _add_output(mutant: Mutant, *, value: str, shape: tuple[int | str | None, ...]) -> None:
    mutant.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, shape))


def _remove_output(mutant: Mutant, *, name: str) -> None:
    mutant.graph.output.remove(next(v for v in mutant.graph.output if v.name == name))


def _output_cast(draft: Draft, dtype: int) -> Iterator[Site]:
    for value in draft.graph.output:
        if is_float(draft, value.name) and draft.producer(value.name) is not None:
            yield Site(value.name, partial(_cast_output, name=value.name, dtype=dtype))


def _cast_output(mutant: Mutant, *, name: str, dtype: int) -> None:
    detour(mutant, name, _with("Cast", to=dtype))
    for value in mutant.graph.output:
        if value.name == name:
            value.type.tensor_type.elem_type = dtype


def _retype_input(mutant: Mutant, *, name: str, dtype: int) -> None:
    detour(mutant, name, _with("Cast", to=TensorProto.FLOAT))
    next(v for v in mutant.inputs if v.name == name).type.tensor_type.elem_type = dtype


def _with(operator: str, **attributes: int) -> Build:
    def build(patch: Patch, value: str) -> str:
        return patch.add(operator, value, **attributes)

    return build


def _reshape_output(mutant: Mutant, *, name: str, sizes: tuple[int, ...]) -> None:
    def build(patch: Patch, value: str) -> str:
        return patch.add("Reshape", value, patch.constant(np.array([-1, *sizes]), np.int64))

    detour(mutant, name, build)
    output = next(value for value in mutant.graph.output if value.name == name)
    batch = output.type.tensor_type.shape.dim[0].dim_param or "batch"
    free = batch if sizes else f"{batch}_times_features"
    shaped = helper.make_tensor_value_info(name, TensorProto.FLOAT, [free, *sizes])
    output.CopyFrom(shaped)


def _add_input(mutant: Mutant) -> None:
    extra = helper.make_tensor_value_info("unused_input", TensorProto.FLOAT, ["batch", 1])
    mutant.graph.input.append(extra)


def _declare_larger(mutant: Mutant, *, name: str) -> None:
    output = next(value for value in mutant.graph.output if value.name == name)
    output.type.tensor_type.shape.dim[-1].dim_value += 1
