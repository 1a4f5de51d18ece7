"""Files that belong together as one graph: each call of a deployed model in a row.

The encoder is asked once; the decoder's first call takes all new tokens but the last few, and each
of these is a call of its own, of the decoder with its past, with the cache that the call before
gave. A node is called after the file that it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnx_conformance.core.carries import NO_TOKENS, TOKENS, named_alike
from onnx_conformance.core.errors import Refused
from onnx_conformance.core.file_roles import BRANCH, ENCODER, FIRST, MERGED, NEXT, STEPS
from onnx_conformance.core.onnx_file import bodies_of, load_model

END = np.iinfo(np.int64).max
JUDGE_ONE_BY_ONE = "name the files to judge one by one: --artifact=FILE"


@dataclass(frozen=True)
class File:
    """One of the files, its functions inlined."""

    label: str
    model: ModelProto

    @property
    def inputs(self) -> dict[str, ValueInfoProto]:
        """Its inputs by name, without initializers that are listed among them."""
        kept = {one.name for one in self.model.graph.initializer}
        return {one.name: one for one in self.model.graph.input if one.name not in kept}

    @property
    def outputs(self) -> list[str]:
        """The names of its outputs."""
        return [one.name for one in self.model.graph.output]


@dataclass
class Composition:
    """A graph that grows call by call."""

    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    inputs: dict[str, ValueInfoProto] = field(default_factory=dict)

    def take(self, value: ValueInfoProto, name: str) -> str:
        """An input of the whole."""
        one = ValueInfoProto()
        one.CopyFrom(value)
        one.name = name
        self.inputs.setdefault(name, one)
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """A node between the files; the value that it gives."""
        if any(output in one.output for one in self.nodes):
            return output
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        """An initializer of the whole."""
        array = np.asarray(value, dtype)
        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def part(self, whole: str, axis: int, start: int, end: int) -> str:
        """Places ``start`` to ``end`` of an axis of a value."""
        bounds = [self.constant(f"together/{n}", [n]) for n in (start, end, axis)]
        return self.node("Slice", [whole, *bounds], f"together/{whole}/{axis}/{start}..{end}")

    def call(self, file: File, place: str, given: Mapping[str, str]) -> dict[str, str]:
        """The nodes of one call of a file; its outputs' values by name.

        Weights are shared by all calls of a file.
        """
        weights = {one.name for one in file.model.graph.initializer}

        def renamed(name: str) -> str:
            if not name or name in given:
                return given.get(name, "")
            return f"{file.label}/{name}" if name in weights else f"{place}/{name}"

        for one in file.model.graph.initializer:
            self._keep(one, renamed(one.name))
        self.nodes += _renamed(file.model.graph.node, renamed, place)
        return {name: renamed(name) for name in file.outputs}

    def empty(self, file: File, value: ValueInfoProto) -> str:
        """A past without places; of a merged decoder one of zeros, which it does not read."""
        dims = value.type.tensor_type.shape.dim
        places = 1 if BRANCH in file.inputs else 0
        ids = next(name for name in self.inputs if TOKENS.search(name))
        shape = self.node("Shape", [ids], f"together/{value.name}/ids")
        batch = self.part(shape, 0, 0, 1)
        rest = [dim.dim_value if dim.HasField("dim_value") else places for dim in dims[1:]]
        sizes = [batch, self.constant(f"together/{value.name}/sizes", rest)]
        shape = self.node("Concat", sizes, f"together/{value.name}/shape", axis=0)
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        zero = numpy_helper.from_array(np.zeros(1, kind))
        return self.node("ConstantOfShape", [shape], f"together/{value.name}", value=zero)

    def _keep(self, tensor: TensorProto, name: str) -> None:
        if name not in self.initializers:
            kept = TensorProto()
            kept.CopyFrom(tensor)
            kept.name = name
            self.initializers[name] = kept


def _renamed(
    nodes: Iterable[NodeProto], renamed: Callable[[str], str], place: str
) -> list[NodeProto]:
    """Copies of nodes under other names, those of subgraphs too."""
    found = []
    for number, node in enumerate(nodes):
        copied = NodeProto()
        copied.CopyFrom(node)
        copied.name = f"{place}/{node.name or f'{node.op_type}_{number}'}"
        copied.input[:] = [renamed(name) for name in node.input]
        copied.output[:] = [renamed(name) for name in node.output]
        for graph in bodies_of(copied):
            _rename_inside(graph, renamed, place)
        found.append(copied)
    return found


def _rename_inside(graph: onnx.GraphProto, renamed: Callable[[str], str], place: str) -> None:
    inner = _renamed(graph.node, renamed, f"{place}/{graph.name}")
    del graph.node[:], graph.value_info[:]
    graph.node.extend(inner)
    for one in (*graph.input, *graph.output, *graph.initializer):
        one.name = renamed(one.name)


# -- the chain -------------------------------------------------------------------------------------


def compose(paths: Mapping[str, tuple[str, Path]], target: Path) -> None:
    """Write the chain of files to ``target``.

    Args:
        paths: label and place by role.

    Raises:
        Refused: the files do not fit together, in one sentence.
    """
    files = {role: _opened(*one) for role, one in paths.items()}
    chain = Composition()
    outputs = _Chain(files, chain).build()
    _write(chain, outputs, list(files.values()), target)


def one_call(label: str, path: Path, target: Path, *, later: bool) -> list[str]:
    """Write what a merged decoder is at its first call, or at later ones, to ``target``.

    Returns:
        The names of its inputs.
    """
    file, graph = _opened(label, path), Composition()
    given = {name: name for name in file.outputs}
    given |= {
        name: graph.take(one, name)
        for name, one in file.inputs.items()
        if name != BRANCH and (later or not _is_past(name))
    }
    given[BRANCH] = graph.constant(f"together/{BRANCH}", [later], bool)
    for name, one in file.inputs.items():
        if name not in given:
            given[name] = graph.empty(file, one)
    graph.call(file, label, given)
    kept = [n for n in file.outputs if not (later and _of_source(n))]
    _write(graph, [_output(file, name) for name in kept], [file], target)
    return list(graph.inputs)


def _write(
    made: Composition, outputs: list[ValueInfoProto], files: Sequence[File], target: Path
) -> None:
    inputs, weights = list(made.inputs.values()), list(made.initializers.values())
    model = helper.make_model(
        helper.make_graph(made.nodes, "together", inputs, outputs, weights),
        opset_imports=_opsets(files),
        ir_version=max(file.model.ir_version for file in files),
    )
    onnx.save_model(
        model, target, save_as_external_data=True, location=f"{target.name}.data",
        size_threshold=2**20,
    )  # fmt: skip


def _opened(label: str, path: Path) -> File:
    model = load_model(path)
    return File(label, onnx.inliner.inline_local_functions(model) if model.functions else model)


def _opsets(files: Sequence[File]) -> list[onnx.OperatorSetIdProto]:
    found: dict[str, int] = {}
    for file in files:
        for one in file.model.opset_import:
            domain = one.domain if one.domain != "ai.onnx" else ""
            if found.setdefault(domain, one.version) != one.version:
                raise Refused(
                    f"{file.label} is of opset {one.version} of '{domain or 'ai.onnx'}' and others "
                    f"of {found[domain]}, so they cannot be run through as one; export them at one "
                    f"opset, or {JUDGE_ONE_BY_ONE}"
                )
    return [helper.make_opsetid(domain, version) for domain, version in found.items()]


class _Chain:
    """The calls of an encoder and its decoders in a row."""

    def __init__(self, files: Mapping[str, File], graph: Composition) -> None:
        self._graph = graph
        self._encoder = files.get(ENCODER)
        first = files.get(FIRST) or files.get(MERGED) or files[NEXT]
        later = files.get(NEXT) or files.get(MERGED) or first
        self._first, self._later = first, later if _takes_past(later) else None
        self._steps = STEPS if self._later else 0
        self._said: dict[str, str] = {}  # what the encoder gave
        self._mask = ""  # of the encoder's input
        self._state: dict[str, str] = {}  # what the calls gave so far

    def build(self) -> list[ValueInfoProto]:
        """Add all calls; the outputs of the whole."""
        if self._encoder:
            given = {
                name: self._graph.take(one, name) for name, one in self._encoder.inputs.items()
            }
            self._mask = next((name for name in given if "mask" in name), "")
            self._said = self._graph.call(self._encoder, self._encoder.label, given)
        answers = [self._call(self._first, self._first.label, 0)]
        answers += [
            self._call(self._later, f"{self._later.label}/call_{step + 1}", step)
            for step in range(1, self._steps + 1)
            if self._later
        ]
        name = self._first.outputs[0]
        self._graph.node("Concat", answers, name, axis=1)
        outputs = [_open(_output(self._first, name), 1)]
        if self._encoder:
            last = "encoder_last_hidden_state"
            self._graph.node("Identity", [next(iter(self._said.values()))], last)
            one = _open(_output(self._encoder, self._encoder.outputs[0]))
            one.name = last
            outputs.append(one)
        return outputs

    def _call(self, file: File, place: str, step: int) -> str:
        """One call of a decoder; the value of its first output."""
        carried = dict((old, new) for new, old in named_alike(list(self._state), list(file.inputs)))
        given = {
            name: self._state[carried[name]] if name in carried else self._given(file, one, step)
            for name, one in file.inputs.items()
        }
        answer = self._graph.call(file, place, given)
        given_once = {name for name in self._state if _of_source(name)}
        self._state |= {n: a for n, a in list(answer.items())[1:] if n not in given_once}
        return answer[file.outputs[0]]

    def _given(self, file: File, value: ValueInfoProto, step: int) -> str:
        """What a decoder's input gets that no call before gave."""
        name = value.name
        if name == BRANCH:
            return self._graph.constant(f"together/{name}/{step > 0}", [step > 0], bool)
        if name in self._said:
            return self._said[name]
        if self._encoder and _of_source(name) and not _is_past(name):
            return self._of_encoder(file, name)
        if TOKENS.search(name) and not NO_TOKENS.search(name):
            whole = "decoder_input_ids" if self._encoder else name
            return self._places(self._graph.take(_open(value, 1), whole), step)
        if "position" in name and len(value.type.tensor_type.shape.dim) == 2:
            return self._places(self._graph.take(_open(value, 1), name), step)
        if "mask" in name and not self._encoder:
            whole, end = self._graph.take(_open(value, 1), name), step - self._steps
            return self._graph.part(whole, 1, 0, end) if end else whole
        if _is_past(name) and not step:
            return self._graph.empty(file, value)
        raise Refused(
            f"{file.label} has input '{name}', which no file of the folder and no call before "
            f"gives; {JUDGE_ONE_BY_ONE}"
        )

    def _of_encoder(self, file: File, name: str) -> str:
        if "mask" not in name:
            return next(iter(self._said.values()))
        if not self._mask:
            raise Refused(
                f"{file.label} has input '{name}', and the encoder's file takes no mask; "
                f"{JUDGE_ONE_BY_ONE}"
            )
        return self._mask

    def _places(self, whole: str, step: int) -> str:
        """Which places of a sequence a call takes: all but the last few, then one at a time."""
        if not self._steps:
            return whole
        start, end = (step - 1 - self._steps, step - self._steps) if step else (0, -self._steps)
        return self._graph.part(whole, 1, start, end or END)


def _is_past(name: str) -> bool:
    return "past" in name


def _of_source(name: str) -> bool:
    """Whether a tensor is of what an encoder said."""
    return "encoder" in name.replace("decoder", "")


def _takes_past(file: File) -> bool:
    return bool(named_alike(file.outputs, list(file.inputs)))


def _output(file: File, name: str) -> ValueInfoProto:
    found: ValueInfoProto = next(one for one in file.model.graph.output if one.name == name)
    return found


def _open(value: ValueInfoProto, axis: int | None = None) -> ValueInfoProto:
    """An input or output, with an axis of any size."""
    one = ValueInfoProto()
    one.CopyFrom(value)
    if axis is not None and axis < len(one.type.tensor_type.shape.dim):
        one.type.tensor_type.shape.dim[axis].dim_param = "target"
    return one
