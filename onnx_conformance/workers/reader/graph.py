"""Validation of a graph: names, versions, values, functions.

Less than ``onnx.checker``, which comes after it, but in words that name the remedy, and safe:
nothing here recurses or multiplies what it reads.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import onnx

from onnx_conformance.core.errors import Refused
from onnx_conformance.core.onnx_file import (
    bodies_of,
    default_opset,
    every_graph,
    every_tensor,
    sort_nodes,
)
from onnx_conformance.core.settings import Limits
from onnx_conformance.core.text import hidden, quoted

EXPORT_AGAIN = "export it again"
Graph = onnx.GraphProto | onnx.FunctionProto
# ONNX Runtime brings these beside those that onnx knows.
RUNTIME_DOMAINS = (
    "com.microsoft",
    "com.microsoft.dml",
    "com.microsoft.experimental",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
    "org.pytorch.aten",
)
MOST_NODES = 10**12  # nodes; more of them are as many


def refuse_graph(model: onnx.ModelProto, limits: Limits, *, libraries: bool) -> None:
    """Refuse a file that makes no sense, before its numbers are read.

    Args:
        libraries: the user named custom-operator libraries, whose domains nobody knows.

    Raises:
        Refused: the first thing found.
    """
    _refuse_extent(model, limits)
    for name in _names(model):
        if isinstance(name, bytes):  # what protobuf hands out where a string is no UTF-8
            raise Refused(f"holds a name that is not UTF-8: {quoted(name)}; {EXPORT_AGAIN}")
        if hidden(name):
            raise Refused(
                f"holds a name with characters that cannot be shown: {quoted(name)}; {EXPORT_AGAIN}"
            )
    _refuse_versions(model)
    _refuse_domains(model, libraries)
    _refuse_recursion(model, limits)
    sort_nodes(model)  # as ONNX Runtime does
    for function in model.functions:
        _refuse_values(function, set())
    _refuse_values(model.graph, set())


def _refuse_extent(model: onnx.ModelProto, limits: Limits) -> None:
    if not model.graph.node:
        raise Refused(f"has no nodes: it computes nothing; {EXPORT_AGAIN}")
    count = 0
    for graph, depth in every_graph(model):
        count += len(graph.node)
        if depth > limits.depth:
            raise Refused(
                f"has subgraphs nested deeper than the {limits.depth:g} levels that are allowed; "
                "write it flatter, or raise --artifact-limit depth=N"
            )
        _refuse_count(count, limits)


def _refuse_count(count: int, limits: Limits) -> None:
    if count > limits.nodes:
        many = f"{count:,}" if count < MOST_NODES else f"at least {MOST_NODES:,}"
        raise Refused(
            f"has {many} nodes, but only {limits.nodes:,.0f} are allowed; "
            "raise --artifact-limit nodes=N if they are intended"
        )


def _names(model: onnx.ModelProto) -> Iterator[str]:
    yield from (model.producer_name, model.producer_version, model.domain)
    yield from (entry.domain for entry in model.opset_import)
    for graph, _ in every_graph(model):
        yield graph.name
        if isinstance(graph, onnx.FunctionProto):
            yield graph.domain
            yield from (*graph.input, *graph.output, *graph.attribute)
        else:
            for value in (*graph.input, *graph.output, *graph.value_info):
                yield value.name
                yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            yield from (attribute.name for attribute in node.attribute)
    for tensor in every_tensor(model):
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)


def _refuse_versions(model: onnx.ModelProto) -> None:
    newest, asked = onnx.defs.onnx_opset_version(), default_opset(model)
    if not asked and not any(node.domain for node in model.graph.node):
        raise Refused(f"declares no opset, so its operators are undefined; {EXPORT_AGAIN}")
    if not 0 <= asked <= newest:
        raise Refused(
            f"says opset {asked}, and onnx {onnx.__version__} knows 1 to {newest}; "
            "export it at one of these, or upgrade onnx and onnxruntime"
        )
    if model.ir_version > onnx.IR_VERSION:
        raise Refused(
            f"says IR version {model.ir_version}, and onnx {onnx.__version__} knows up to "
            f"{onnx.IR_VERSION}; export it again, or upgrade onnx and onnxruntime"
        )


def _refuse_domains(model: onnx.ModelProto, libraries: bool) -> None:
    if libraries:
        return
    known = {schema.domain for schema in onnx.defs.get_all_schemas()}
    known |= {"ai.onnx", *RUNTIME_DOMAINS}
    defined = {(function.domain, function.name) for function in model.functions}
    for graph, _ in every_graph(model):
        for node in graph.node:
            if node.domain not in known and (node.domain, node.op_type) not in defined:
                raise Refused(
                    f"needs operator {quoted(node.op_type)} of the unknown domain "
                    f"{quoted(node.domain)}; name the library that has it with "
                    "--custom-op-library=PATH, if you trust it"
                )


def _refuse_recursion(model: onnx.ModelProto, limits: Limits) -> None:
    """Refuse functions that call each other in a cycle, or expand beyond the nodes allowed."""
    bodies: dict[tuple[str, str], Graph] = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    under_way: set[tuple[str, str]] = set()
    calls = {name: _called(body, bodies) for name, body in bodies.items()}
    for start in bodies:
        waiting = [start]
        while waiting:
            name = waiting[-1]
            todo = [called for called in calls[name] if called not in sizes]
            circle = next((called for called in todo if called in under_way | {name}), None)
            if circle is not None:
                raise Refused(
                    f"has function {quoted(circle[1])}, which calls itself; {EXPORT_AGAIN}"
                )
            under_way.add(name)
            if todo:
                waiting.append(todo[0])
                continue
            under_way.discard(name)
            inlined = sum(sizes[called] for called in calls[name])
            sizes[name] = min(_nodes_in(bodies[name]) + inlined, MOST_NODES)
            waiting.pop()
    inlined = sum(sizes[called] for called in _called(model.graph, bodies))
    _refuse_count(_nodes_in(model.graph) + inlined, limits)


def _called(body: Graph, known: Container[tuple[str, str]]) -> list[tuple[str, str]]:
    """The functions that a graph calls, each as often as it does."""
    names = [(node.domain, node.op_type) for graph in _within(body) for node in graph.node]
    return [name for name in names if name in known]


def _nodes_in(body: Graph) -> int:
    return sum(len(graph.node) for graph in _within(body))


def _within(body: Graph) -> Iterator[Graph]:
    """A graph and its subgraphs."""
    waiting = [body]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            waiting += bodies_of(node)


def _refuse_values(graph: Graph, outer: set[str]) -> None:
    """Refuse values without exactly one producer, or read before they are made."""
    inner = _provided(graph)
    made_later = {name for node in graph.node for name in node.output}
    for node in graph.node:
        for name in node.input:
            if name and name not in inner and name not in outer:
                _refuse_unmade(node, name, later=name in made_later)
        for below in bodies_of(node):
            _refuse_values(below, outer | inner)
        for name in node.output:
            if name and name in inner:
                raise Refused(f"has two nodes that make the value {quoted(name)}; {EXPORT_AGAIN}")
            inner.add(name)
    values = (
        graph.output if isinstance(graph, onnx.FunctionProto) else [v.name for v in graph.output]
    )
    for name in values:
        if name not in inner and name not in outer:
            raise Refused(f"has the output {quoted(name)}, which nothing makes; {EXPORT_AGAIN}")


def _refuse_unmade(node: onnx.NodeProto, name: str, *, later: bool) -> None:
    who = f"node {quoted(node.name or node.op_type)}"
    if later:
        raise Refused(
            f"has {who}, which reads {quoted(name)} before it is made: its nodes stand in a "
            f"circle; {EXPORT_AGAIN}"
        )
    raise Refused(f"has {who}, which reads {quoted(name)}, which nothing makes; {EXPORT_AGAIN}")


def _provided(graph: Graph) -> set[str]:
    """The names that a graph knows before its first node: inputs and initialisers."""
    if isinstance(graph, onnx.FunctionProto):
        return set(graph.input)
    inputs = [value.name for value in graph.input]
    stored = [tensor.name for tensor in graph.initializer]
    stored += [pair.values.name for pair in graph.sparse_initializer]
    for names, what in ((inputs, "inputs"), (stored, "initializers")):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise Refused(f"has two {what} of the name {quoted(twice)}; {EXPORT_AGAIN}")
    return {*inputs, *stored}
