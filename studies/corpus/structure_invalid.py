"""Files that are not valid ONNX, or not the ONNX that they say they are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from onnx import TensorProto, helper

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, replace_input, set_attribute

FAMILY = "structure"
CUSTOM = "org.example.custom"


@fault(FAMILY, story="a tool writes a newer opset than the nodes were made for")
def opset_relabelled_upwards(draft: Draft) -> Iterator[Site]:
    for step in (1, 2, 4):
        yield Site(f"opset {draft.opset + step}", partial(_relabel, version=draft.opset + step))


@fault(FAMILY, story="a tool writes an older opset, to please an old runtime, and converts nothing")
def opset_relabelled_downwards(draft: Draft) -> Iterator[Site]:
    for step in (1, 2, 4):
        if draft.opset - step > 6:
            strike = partial(_relabel, version=draft.opset - step)
            yield Site(f"opset {draft.opset - step}", strike)


@fault(FAMILY, story="written by a library that is newer than the runtime")
def ir_version_of_the_future(draft: Draft) -> Iterator[Site]:
    yield Site("IR version 99", partial(_set_ir_version, version=99))


@fault(FAMILY, story="an IR version before 4, in which initialisers must be inputs as well")
def ir_version_of_the_past(draft: Draft) -> Iterator[Site]:
    if draft.graph.initializer:
        yield Site("IR version 3", partial(_set_ir_version, version=3))


@fault(FAMILY, story="a layer became a custom operator that only the exporter's machine has")
def operator_of_a_custom_domain(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes():
        if node.op_type != "Constant":
            yield Site(node.name, partial(_customise, node=node.name))


@fault(FAMILY, story="two merged graphs use one name for two values")
def name_made_twice(draft: Draft) -> Iterator[Site]:
    found = draft.nodes()
    for one, two in zip(found, found[1:], strict=False):
        strike = partial(_name_twice, node=two.name, name=one.output[0])
        yield Site(two.name, strike)


@fault(
    FAMILY,
    story="a pass appends its nodes at the end: they come after their readers",
    link="https://github.com/onnx/onnx/issues/1920",
)
def nodes_not_sorted(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes():
        if draft.consumers(node.output[0]):
            yield Site(node.name, partial(_move_to_end, node=node.name))


@fault(FAMILY, story="a tensor is dropped as unused: a node reads what is not there")
def initialiser_missing(draft: Draft) -> Iterator[Site]:
    for name in draft.arrays:
        if draft.consumers(name):
            yield Site(name, partial(_drop_initialiser, name=name))


@fault(FAMILY, story="a pass removes a node and forgets its readers")
def node_missing(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes():
        yield Site(node.name, partial(_drop_node, node=node.name))


@fault(
    FAMILY,
    story="the weights' file was not copied along with the model",
    link="https://github.com/microsoft/onnxruntime/issues/19739",
)
def external_data_missing(draft: Draft) -> Iterator[Site]:
    for tensor in draft.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield Site(tensor.name, partial(_lose_data, name=tensor.name))


@fault(FAMILY, story="an attribute of another opset's operator")
def attribute_unknown(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Conv", "Gemm", "Relu", "Clip", "MaxPool", "MatMul"):
        yield Site(node.name, partial(_add_attribute, node=node.name))


def _relabel(mutant: Mutant, *, version: int) -> None:
    for entry in mutant.model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = version


def _set_ir_version(mutant: Mutant, *, version: int) -> None:
    mutant.model.ir_version = version


def _customise(mutant: Mutant, *, node: str) -> None:
    custom = mutant.node(node)
    custom.domain, custom.op_type = CUSTOM, f"My{custom.op_type}"
    mutant.model.opset_import.append(helper.make_opsetid(CUSTOM, 1))


def _name_twice(mutant: Mutant, *, node: str, name: str) -> None:
    second = mutant.node(node)
    for reader in mutant.consumers(second.output[0]):
        replace_input(reader, second.output[0], name)
    second.output[0] = name


def _move_to_end(mutant: Mutant, *, node: str) -> None:
    moved = mutant.node(node)
    mutant.graph.node.remove(moved)
    mutant.graph.node.append(moved)


def _drop_initialiser(mutant: Mutant, *, name: str) -> None:
    mutant.graph.initializer.remove(next(t for t in mutant.graph.initializer if t.name == name))
    del mutant.arrays[name]


def _drop_node(mutant: Mutant, *, node: str) -> None:
    mutant.graph.node.remove(mutant.node(node))


def _lose_data(mutant: Mutant, *, name: str) -> None:
    tensor = next(t for t in mutant.graph.initializer if t.name == name)
    next(e for e in tensor.external_data if e.key == "location").value = "not_copied.bin"


def _add_attribute(mutant: Mutant, *, node: str) -> None:
    set_attribute(mutant.node(node), "an_attribute_of_another_opset", 1)
