"""The spec of a reference artifact, the ONNX file that another is compared with."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.documents import TensorFacts
from onnx_conformance.core.domains import Choice, Integers
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.graph_weights import constant_outputs
from onnx_conformance.core.onnx_file import inspect, load_model, table_elements
from onnx_conformance.core.plain_outputs import named
from onnx_conformance.core.spec import InputSpecs, TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.built_model import BuiltModel, FileOracle, takes_only
from onnx_conformance.workers.onnx.agreement import absolute_error, find_oracle
from onnx_conformance.workers.onnx.backend import digest_of, open_at
from onnx_conformance.workers.onnx.file_axes import (
    FileRun,
    accepted,
    namings,
    shape_of,
    with_batch,
    without_signs,
)
from onnx_conformance.workers.onnx.input_ranges import (
    ASSUMED_BOUND,
    Graph,
    Range,
    notes_of,
    range_of,
)

UNKNOWN_TEXT = "a text that the file does not know"
KINDS = "fiubU"  # NumPy's kinds of numbers, truth values and text


def file_model(path: Path, threads: int | None, declared: Sequence[TensorSpec] = ()) -> BuiltModel:
    """An ONNX file as a built model: its inputs, and how it is run.

    Args:
        declared: the inputs where the user says what they are: nothing is guessed then.

    Raises:
        UsageError: it is none, or cannot be opened, or refuses what its inputs seem to be.
    """
    facts = inspect(path)
    outputs = [value.name for value in load_model(path, weights=False).graph.output]
    try:
        compute = open_at(path, "float32", threads)
    except Exception as error:
        raise UsageError(f"{path} cannot be loaded: {' '.join(str(error).split())}") from error

    def run(inputs: Inputs) -> Arrays:
        return named(outputs, compute(inputs))

    def oracle(input_sets: Sequence[Inputs]) -> FileOracle:
        return find_oracle(load_model(path), input_sets, threads)

    labels = tuple(tensor["name"] for tensor in facts["inputs"])
    if not labels:
        raise UsageError(
            f"{path} has no inputs, so its outputs are constants: there is nothing to judge it by; "
            "give a file that takes inputs"
        )
    _refuse_unknown(path, declared, labels)
    found = InputSpecs(tuple(declared)) if declared else _shaped(path, facts["inputs"], compute)
    return BuiltModel(
        framework="onnx",
        parameters=labels,
        inputs=found.inputs,
        digest=digest_of(path),
        run=run,
        float64_problem=lambda inputs: oracle([inputs]).problem or None,
        refuses=takes_only(labels),
        axes=found.axes,
        notes=found.notes,
        oracle=oracle,
        weights=facts["initializers"]["elements"] - table_elements(load_model(path, weights=False)),
    )


def _refuse_unknown(path: Path, declared: Sequence[TensorSpec], labels: Sequence[str]) -> None:
    """Refuse a declared input that the file does not have."""
    unknown = [spec.name for spec in declared if spec.name not in labels]
    if unknown:
        raise UsageError(
            f"{path.name} has no input '{unknown[0]}'; its inputs are {', '.join(labels)}: name "
            "them so in inputs=[...]"
        )


def _shaped(path: Path, tensors: Sequence[TensorFacts], run: Any) -> InputSpecs:
    """The file's inputs, with ranges read from its graph and sizes that it accepts."""
    model = load_model(path, weights=False)
    graph, errors = Graph(model), _errors_of(model)
    moving = _moving_places(model)
    for tensor in tensors:
        _refuse_kind(tensor)
    ranges = {
        t["name"]: range_of(graph, t["name"], t["dtype"], len(t["shape"] or [])) for t in tensors
    }
    written = {t["name"]: shape_of(t["name"], t["shape"] or []) for t in tensors}
    shapes = with_batch(without_signs(written))
    candidates, first = list(namings(shapes)), None
    careful = run if graph.safe else survived(run)

    def moved(inputs: Inputs) -> list[Any]:
        answers = careful(inputs)
        return [answers[place] for place in moving]

    def fed(chosen: Mapping[str, Range], taking: FileRun = moved) -> InputSpecs:
        specs = [
            TensorSpec(name, candidates[0][name], t["dtype"], domain=chosen[name].domain)
            for t in tensors
            for name in [t["name"]]
        ]
        return accepted(specs, candidates, taking, [errors[place] for place in moving])

    for chosen in _guesses(_with_unknown_texts(ranges, fed)):
        try:
            found = fed(chosen, finite(moved) if _has_negative(chosen) else moved)
        except UsageError as error:
            first = first or error
            continue
        notes = (*notes_of(str(path), found.inputs, chosen), *found.notes)
        return InputSpecs(found.inputs, found.axes, notes)
    assert first is not None
    raise first


def _with_unknown_texts(
    ranges: dict[str, Range], fed: Callable[[Mapping[str, Range]], InputSpecs]
) -> dict[str, Range]:
    """The ranges; a text that the file does not know is among its texts where it takes one.

    Args:
        fed: raises UsageError where the file refuses.
    """
    known = {
        name: one.domain.values
        for name, one in ranges.items()
        if one.known and isinstance(one.domain, Choice) and isinstance(one.domain.values[0], str)
    }
    if not known:
        return ranges
    alone = {name: Range(Choice((UNKNOWN_TEXT,)), "") for name in known}
    try:
        fed(ranges | alone)
    except UsageError:
        return ranges
    why = "the file has these but the last"
    return ranges | {
        name: Range(Choice((*texts, UNKNOWN_TEXT)), why) for name, texts in known.items()
    }


def _moving_places(model: onnx.ModelProto) -> list[int]:
    """The places of the outputs that numbers of the inputs reach; of all, where they reach none."""
    constant, places = set(constant_outputs(model)), range(len(model.graph.output))
    return [n for n in places if model.graph.output[n].name not in constant] or list(places)


def _errors_of(model: onnx.ModelProto) -> list[float]:
    """What float32 may be off in each output, absolute, by the node that makes it."""
    makers = {name: node for node in model.graph.node for name in node.output}
    return [
        absolute_error(makers[value.name]) if value.name in makers else 0.0
        for value in model.graph.output
    ]


def survived(run: Callable[[Inputs], Any]) -> Callable[[Inputs], Any]:
    """``run``, tried in a copy of this process first, where an integer divided by 0 ends it.

    Raises:
        RuntimeError: from the function, where the inputs end the process.
    """

    def careful(inputs: Inputs) -> Any:
        child = os.fork()
        if not child:
            with contextlib.suppress(Exception):  # the parent meets it again
                run(inputs)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            raise RuntimeError(f"these inputs end ONNX Runtime's process ({name})")
        return run(inputs)

    return careful if hasattr(os, "fork") else run


def finite(run: FileRun) -> FileRun:
    """``run``, which refuses inputs of which it makes an infinity or NaN.

    Raises:
        RuntimeError: from the function.
    """

    def answered(inputs: Inputs) -> Any:
        found = run(inputs)
        floating = [one for one in found if isinstance(one, np.ndarray) and one.dtype.kind == "f"]
        if not all(np.isfinite(array).all() for array in floating):
            raise RuntimeError("these inputs make numbers that are not finite")
        return found

    return answered


def _has_negative(ranges: Mapping[str, Range]) -> bool:
    """Whether a range is assumed to go below 0."""
    return any(
        not one.known and isinstance(one.domain, Integers) and one.domain.low < 0
        for one in ranges.values()
    )


def _guesses(ranges: dict[str, Range]) -> list[dict[str, Range]]:
    """The ranges, then smaller ones where they are assumed."""
    if all(one.known for one in ranges.values()):
        return [ranges]
    why = "nothing in the file bounds it, and it refuses {} numbers"
    smaller = [(Integers(0, ASSUMED_BOUND), "negative")] if _has_negative(ranges) else []
    smaller += [(Integers(0, 2), "larger"), (Integers(1, 2), "larger")]
    return [ranges] + [
        {
            name: Range(domain, why.format(refused), known=False)
            if not one.known and isinstance(one.domain, Integers)
            else one
            for name, one in ranges.items()
        }
        for domain, refused in smaller
    ]


def _refuse_kind(tensor: TensorFacts) -> None:
    """Inputs that are no tensors of numbers."""
    dtype = tensor["dtype"]
    if dtype == "?" or np.dtype(dtype).kind not in KINDS:
        kind = "no tensor" if dtype == "?" else f"of {dtype}"
        raise UsageError(
            f"input '{tensor['name']}' is {kind}; files are compared on tensors of numbers, truth "
            "values and text: cut the file behind such an input (onnx.utils.extract_model)"
        )
