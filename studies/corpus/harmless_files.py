"""Equivalent rewrites of the file: names, order, where constants live, what only readers see."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnx
from onnx import compose, helper

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Graph, Mutant, replace_input
from studies.corpus.name_edits import rename_values

FAMILY = "harmless: file"


@fault(FAMILY, verdict="harmless", story="another exporter numbers its nodes")
def nodes_renamed(draft: Draft) -> Iterator[Site]:
    yield Site("all nodes", partial(_rename_nodes, pattern="node_{}"))


@fault(FAMILY, verdict="harmless", story="names of nodes are optional, and a tool leaves them out")
def nodes_without_names(draft: Draft) -> Iterator[Site]:
    yield Site("all nodes", partial(_rename_nodes, pattern=""))


@fault(FAMILY, verdict="harmless", story="an exporter names weights by their number")
def initialisers_renamed(draft: Draft) -> Iterator[Site]:
    if draft.arrays:
        names = {name: f"onnx::constant_{place}" for place, name in enumerate(draft.arrays)}
        yield Site("all initialisers", partial(rename_values, names=names))


@fault(FAMILY, verdict="harmless", story="onnx.compose puts a prefix before all inner names")
def inner_names_prefixed(draft: Draft) -> Iterator[Site]:
    yield Site("all names", _prefix)


@fault(FAMILY, verdict="harmless", story="a pass that sorts the graph finds another valid order")
def nodes_in_another_order(draft: Draft) -> Iterator[Site]:
    for last_first in (True, False):
        order = _sorted(draft, last_first=last_first)
        if order != [node.name for node in draft.nodes()]:
            yield Site(f"last first: {last_first}", partial(_reorder, order=order))


@fault(FAMILY, verdict="harmless", story="a branch that only training needs is left, unread")
def dead_node_added(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Conv", "Gemm", "MatMul", "Relu", "Add"):
        yield Site(node.name, partial(_add_dead_node, value=node.output[0]))


@fault(FAMILY, verdict="harmless", story="a tool strips who made the model, and all notes")
def documentation_removed(draft: Draft) -> Iterator[Site]:
    yield Site("documentation", _strip)


@fault(FAMILY, verdict="harmless", story="a publisher adds a licence and a version")
def documentation_added(draft: Draft) -> Iterator[Site]:
    yield Site("documentation", _document)


@fault(FAMILY, verdict="harmless", story="shapes of inner values are optional and are dropped")
def inner_shapes_removed(draft: Draft) -> Iterator[Site]:
    if draft.graph.value_info:
        yield Site("value_info", _forget_shapes)


@fault(FAMILY, verdict="harmless", story="onnx.shape_inference writes the shapes of inner values")
def inner_shapes_added(draft: Draft) -> Iterator[Site]:
    yield Site("value_info", _infer_shapes)


@fault(FAMILY, verdict="harmless", story="another exporter calls the batch axis by another name")
def batch_axis_renamed(draft: Draft) -> Iterator[Site]:
    if any(isinstance(draft.shapes[v.name][0], str) for v in draft.inputs if draft.shapes[v.name]):
        yield Site("N", _rename_batch)


@fault(FAMILY, verdict="harmless", story="tf2onnx imports ai.onnx.ml whether or not it is used")
def unused_domain_imported(draft: Draft) -> Iterator[Site]:
    for domain, version in (("ai.onnx.ml", 2), ("com.microsoft", 1)):
        if domain not in [entry.domain for entry in draft.model.opset_import]:
            yield Site(domain, partial(_import_domain, domain=domain, version=version))


@fault(FAMILY, verdict="harmless", story="a value with two readers is computed for each of them")
def subexpression_repeated(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes():
        readers = draft.consumers(node.output[0]) if len(node.output) == 1 else []
        if len(readers) > 1 and node.op_type != "Constant":
            strike = partial(_repeat, node=node.name, reader=readers[-1].name)
            yield Site(node.name, strike)


def _rename_nodes(mutant: Mutant, *, pattern: str) -> None:
    for place, node in enumerate(mutant.graph.node):
        node.name = pattern.format(place)


def _prefix(mutant: Mutant) -> None:
    compose.add_prefix(
        mutant.model, "model/", rename_inputs=False, rename_outputs=False, inplace=True
    )


def _sorted(graph: Graph, *, last_first: bool) -> list[str]:
    """Node names in a topological order that prefers the nodes written last (or first)."""
    made = {value for node in graph.nodes() for value in node.output}
    waiting, known, order = graph.nodes(), set[str](), list[str]()
    while waiting:
        ready = [n for n in waiting if all(v in known or v not in made for v in n.input)]
        chosen = ready[-1] if last_first else ready[0]
        waiting.remove(chosen)
        known.update(chosen.output)
        order.append(chosen.name)
    return order


def _reorder(mutant: Mutant, *, order: list[str]) -> None:
    nodes = {node.name: node for node in mutant.nodes()}
    copies = [onnx.NodeProto.FromString(nodes[name].SerializeToString()) for name in order]
    del mutant.graph.node[:]
    mutant.graph.node.extend(copies)


def _add_dead_node(mutant: Mutant, *, value: str) -> None:
    mutant.insert(helper.make_node("Relu", [value], [f"{value}__unread"], name=f"Dead_{value}"))


def _strip(mutant: Mutant) -> None:
    model, graph = mutant.model, mutant.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for field in ("producer_name", "producer_version", "domain", "model_version"):
        model.ClearField(field)
    graph.name = "graph"


def _document(mutant: Mutant) -> None:
    helper.set_model_props(mutant.model, {"licence": "Apache-2.0", "contact": "nobody"})
    mutant.model.doc_string, mutant.graph.name = "A model for tests.", "renamed_graph"
    mutant.model.model_version = 7


def _forget_shapes(mutant: Mutant) -> None:
    del mutant.graph.value_info[:]


def _infer_shapes(mutant: Mutant) -> None:
    mutant.model.CopyFrom(onnx.shape_inference.infer_shapes(mutant.model))


def _rename_batch(mutant: Mutant) -> None:
    del mutant.graph.value_info[:]
    for value in (*mutant.inputs, *mutant.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_param:
            dims[0].dim_param = "N"


def _import_domain(mutant: Mutant, *, domain: str, version: int) -> None:
    mutant.model.opset_import.append(helper.make_opsetid(domain, version))


def _repeat(mutant: Mutant, *, node: str, reader: str) -> None:
    copy = onnx.NodeProto()
    copy.CopyFrom(mutant.node(node))
    copy.name, copy.output[0] = f"{node}__again", f"{copy.output[0]}__again"
    replace_input(mutant.node(reader), mutant.node(node).output[0], copy.output[0])
    mutant.insert(copy, before=reader)
