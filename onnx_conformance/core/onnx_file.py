"""Facts read back from an ONNX file: opset, interface, nodes, initialisers, external data."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from onnx_conformance.core.documents import FileFacts, TensorFacts
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.plain_outputs import TEXT, keys_of, part_of

Graph = onnx.GraphProto | onnx.FunctionProto
JOIN = "SequenceConstruct"  # of as many tensors as it has inputs

# What ONNX Runtime's optimiser writes in ONNX's domain at any opset, and registers there itself.
WRITTEN_BY_OPTIMISER = ("LayerNormalization", "SimplifiedLayerNormalization")
OPTIMISERS = "onnxruntime.optimiser"  # a domain of which onnx.checker knows no operator

# Parts of the names of operators, ONNX's and com.microsoft's, that round numbers to fewer bits than
# float16 has, or compute in such: QuantizeLinear, MatMulIntegerToFloat, MatMulNBits, QMoE, …
QUANTISED = (
    "Quantize", "Integer", "QLinear", "QGemm", "QAttention", "QEmbed", "QMoE", "QOrdered",
    "NBits", "Bnb4", "FpQ4", "Float8",
)  # fmt: skip


def is_quantised(node: onnx.NodeProto) -> bool:
    """Whether an operator rounds to, reads or computes in numbers of few bits."""
    return any(part in node.op_type for part in QUANTISED)


def load_model(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """The file as a message, its nodes in order.

    Raises:
        UsageError: the file is not an ONNX model.
    """
    try:
        model = onnx.load(path, load_external_data=weights)
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise UsageError(f"{path} is not an ONNX model ({error}); export it again") from error
    if not model.HasField("graph") or not model.graph.output:
        raise UsageError(f"{path} is not an ONNX model with outputs; export it again")
    sort_nodes(model)
    return model


def every_graph(model: onnx.ModelProto) -> Iterator[tuple[Graph, int]]:
    """The main graph, functions and subgraphs, breadth first, with depths counted from 1."""
    waiting: deque[tuple[Graph, int]] = deque([(model.graph, 1)])
    waiting += [(function, 1) for function in model.functions]
    while waiting:
        graph, depth = waiting.popleft()
        yield graph, depth
        waiting += [(body, depth + 1) for node in graph.node for body in bodies_of(node)]


def bodies_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs in a node's attributes, such as the branches of an If."""
    found: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        found += [attribute.g] if attribute.HasField("g") else []
        found += attribute.graphs
    return found


def captured_names(node: onnx.NodeProto) -> Iterator[str]:
    """All names that a node's subgraphs read, whoever defines them."""
    for body in bodies_of(node):
        yield from (value.name for value in body.output)
        for each in body.node:
            yield from each.input
            yield from captured_names(each)


def sort_nodes(model: onnx.ModelProto) -> None:
    """Put nodes behind those whose values they read, as ONNX demands; nodes in a circle stay.

    ONNX Runtime does so itself, and its converter to float16 leaves them in another order.
    """
    for graph, _ in every_graph(model):
        makers = {
            name: place for place, node in enumerate(graph.node) for name in node.output if name
        }
        reads = [
            [makers[name] for name in (*node.input, *captured_names(node)) if name in makers]
            for node in graph.node
        ]
        if all(made < place for place, mades in enumerate(reads) for made in mades):
            continue
        try:
            order = list(TopologicalSorter(dict(enumerate(reads))).static_order())
        except CycleError:
            continue
        nodes = [graph.node[place] for place in order]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)


def every_node(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of every graph."""
    for graph, _ in every_graph(model):
        yield from graph.node


def answering_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes from which a path leads to an output, those inside of such nodes too."""
    found: list[onnx.NodeProto] = []
    wanted = {value.name for value in model.graph.output}
    for node in reversed(model.graph.node):  # a graph is in topological order
        if not wanted.isdisjoint(node.output):
            inside = _nodes_within(model, node)
            found += inside
            wanted |= {name for one in inside for name in one.input}
    return found


def _nodes_within(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The node, those of its subgraphs at any depth, and of the functions that these call."""
    functions = {(one.domain, one.name): one for one in model.functions}
    found, waiting = [], [node]
    while waiting:
        one = waiting.pop()
        found.append(one)
        function = functions.pop((one.domain, one.op_type), None)  # once is enough
        waiting += function.node if function is not None else ()
        waiting += [inner for body in bodies_of(one) for inner in body.node]
    return found


def every_tensor(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors that the file holds: initialisers and those of attributes, sparse ones too."""
    for graph, _ in every_graph(model):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            yield from (t for pair in graph.sparse_initializer for t in _halves(pair))
        for node in graph.node:
            for attribute in node.attribute:
                yield from ([attribute.t] if attribute.HasField("t") else [])
                yield from attribute.tensors
                sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                for pair in (*sparse, *attribute.sparse_tensors):
                    yield from _halves(pair)


def _halves(pair: onnx.SparseTensorProto) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    return pair.values, pair.indices


def external_files(path: Path, model: onnx.ModelProto) -> list[Path]:
    """The files beside ``path`` that hold weights of ``model``.

    Raises:
        UsageError: it names one outside its own folder, or one that is not there.
    """
    names = {
        entry.value
        for tensor in every_tensor(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    folder = path.parent.resolve()
    files = [path.parent / name for name in sorted(names)]
    for file in files:
        if not file.resolve().is_relative_to(folder):
            raise UsageError(f"{path} keeps weights outside its own folder: {file}")
        if not file.is_file():
            raise UsageError(f"{path} keeps weights in {file.name}, which is not beside it")
    return files


def complaint_of(path: Path) -> str:
    """What ``onnx.checker`` says of a file, with strict shape inference; empty if nothing."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,  # of a file that no schema foresees
    ) as error:
        return " ".join(str(error).split())[:500]
    return ""


def complaint_beside_own(path: Path) -> tuple[str, tuple[str, ...]]:
    """:func:`complaint_of` but for what ONNX Runtime alone takes.

    That is nodes in another order than ONNX demands, wrong types of values inside, which nothing
    reads, and operators that its optimiser writes into files of opsets that have no such operator.

    Returns:
        What is left of the complaint, and the operators.
    """
    model = load_model(path)
    del model.graph.value_info[:]
    opset = default_opset(model)
    own = [node for node in model.graph.node if _is_runtimes_own(node, opset)]
    for node in own:
        node.domain = OPTIMISERS
    model.opset_import.append(onnx.helper.make_opsetid(OPTIMISERS, 1))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,  # a file of more than 2 GB
    ) as error:
        return " ".join(str(error).split())[:500], ()
    return "", tuple(sorted({node.op_type for node in own}))


def _is_runtimes_own(node: onnx.NodeProto, opset: int) -> bool:
    """Whether ONNX has no such operator at this opset and ONNX Runtime registers one."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in WRITTEN_BY_OPTIMISER:
        return False
    return not onnx.defs.has(node.op_type, opset)


def inspect(path: Path) -> FileFacts:
    """Facts on an artifact: opset, inputs, outputs, symbolic axes, operators, weights, size.

    Raises:
        UsageError: the file, or one that it names, cannot be read or makes no sense.
    """
    return facts_of(path, load_model(path, weights=False))


def facts_of(path: Path, model: onnx.ModelProto) -> FileFacts:
    """:func:`inspect` of a file whose message was read already; weights need not be in it."""
    try:
        return _facts(path, model)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read: {error!r}; export it again") from error


def _facts(path: Path, model: onnx.ModelProto) -> FileFacts:
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    node_of = {value: node for node in graph.node for value in node.output}
    inputs = [_tensor(value) for value in graph.input if value.name not in stored]
    outputs: list[TensorFacts] = [
        {**tensor, "node": node_of[value.name].name if value.name in node_of else ""}
        for value in graph.output
        for tensor in _tensors(value, node_of.get(value.name))
    ]
    files = [path, *external_files(path, model)]
    return {
        "opset": default_opset(model),
        "domains": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "inputs": inputs,
        "outputs": outputs,
        "dynamic_axes": {
            tensor["name"]: {
                str(axis): dim
                for axis, dim in enumerate(tensor["shape"] or [])
                if isinstance(dim, str)
            }
            for tensor in (*inputs, *outputs)
        },
        "nodes": dict(Counter(node.op_type for node in graph.node).most_common()),
        "initializers": {
            "count": len(graph.initializer),
            "elements": sum(math.prod(tensor.dims) for tensor in graph.initializer),
        },
        "files": [str(file.relative_to(path.parent)) for file in files],
        "bytes": sum(file.stat().st_size for file in files),
    }


def default_opset(model: onnx.ModelProto) -> int:
    """The version of the default operator set; 0 if the file imports none."""
    return next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), 0)


def table_elements(model: onnx.ModelProto) -> int:
    """Elements of the main graph's initialisers of which nodes only gather rows."""
    nodes = model.graph.node
    tables = {node.input[0] for node in nodes if node.op_type == "Gather"}
    others = {n for node in nodes for n in node.input[node.op_type == "Gather" :]}
    kept = [one for one in model.graph.initializer if one.name in tables - others]
    return sum(math.prod(tensor.dims) for tensor in kept)


def _tensors(value: onnx.ValueInfoProto, made_by: onnx.NodeProto | None) -> list[TensorFacts]:
    """An output; of maps their values and keys; of a sequence that a node joins, its parts."""
    optional = value.type.optional_type.elem_type
    if optional.HasField("tensor_type"):
        return [_tensor(onnx.ValueInfoProto(name=value.name, type=optional))]
    part = value.type.sequence_type.elem_type
    if part.HasField("tensor_type") and made_by is not None and made_by.op_type == JOIN:
        return [
            _tensor(onnx.ValueInfoProto(name=part_of(value.name, place), type=part))
            for place in range(len(made_by.input))
        ]
    maps = part.map_type
    if not maps.key_type:
        return [_tensor(value)]
    kinds = (maps.value_type.tensor_type.elem_type, maps.key_type)
    return [
        {"name": name, "dtype": _dtype(kind), "shape": ["?", "?"]}
        for name, kind in zip((value.name, keys_of(value.name)), kinds, strict=True)
    ]


def _dtype(kind: int) -> str:
    if kind == onnx.TensorProto.STRING:
        return TEXT
    return str(onnx.helper.tensor_dtype_to_np_dtype(kind).name) if kind else "?"


def _tensor(value: onnx.ValueInfoProto) -> TensorFacts:
    kind = value.type.tensor_type
    shape: list[int | str] | None = None
    if kind.HasField("shape"):
        shape = [
            dim.dim_value
            if dim.HasField("dim_value") and dim.dim_value >= 0
            else dim.dim_param or "?"
            for dim in kind.shape.dim
        ]
    return {"name": value.name, "dtype": _dtype(kind.elem_type), "shape": shape}
