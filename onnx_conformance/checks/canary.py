"""The canary: move one weight of the file, and what the worker answers must move."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_conformance.checks.registry import register_check
from onnx_conformance.core.comparison import Array, Outputs
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.results import CheckResult, failed, passed
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.store import file_digest
from onnx_conformance.inputs.families import FAMILIES, InputPlan, materialise, pinned
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.subject import Artifact, Subject

ORDINARY, SEVERAL = "normal", "image"
ATTEMPTS = 3  # a moved clip bound or shift may move nothing on one set of inputs
REFERRED = 1024  # bytes; a larger tensor stays where it is, in the file that was exported
APPENDED = "the sign of its output"
MOVED = "moved.onnx"
OFFSET, LENGTH = "offset", "length"


def _inputs(model: ModelSpec, seed: int) -> Inputs:
    return materialise(pinned(seed)[ORDINARY], model)


def _plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(runtime=(_inputs(model, seed),))


FAMILIES.register("canary", _plan)


@register_check(control="another_file_answers", input_sets=("canary",))
def check_canary(subject: Subject) -> CheckResult:
    """What answers computes with this very file: an edited copy of it answers otherwise.

    One initialiser, the last that reaches an output, is multiplied by a ramp from 1 to 2. An
    worker that returns the reference, or that never loads the file, does not notice.
    """
    name, rule = "canary", subject.tolerances.rule("canary", subject.case)
    recipe = pinned(subject.seed)[ORDINARY]
    inputs = _inputs(subject.model, subject.seed)
    before = subject.run(inputs)
    if before.outputs is not None and not any(array.any() for array in before.outputs.values()):
        recipe = pinned(subject.seed)[SEVERAL]  # one sample's answer may be zeros, as after a Relu
        inputs = materialise(recipe, subject.model)
        before = subject.run(inputs)
    if before.outputs is None:
        return failed(name, f"the session refused the inputs: {before.error}", inputs=str(recipe))
    compared, tried = sum(array.size for array in before.outputs.values()), []
    graph = light_graph(subject.artifact)
    for what in islice(edits(graph, subject.artifact), ATTEMPTS):
        with moved_copy(graph, subject.artifact, what) as artifact:
            edited = subject.with_artifact(artifact)
            after, loaded = edited.run(inputs), edited.session.sha256
        if loaded != artifact.sha256:
            digests = " and ".join(digest[:12] for digest in loaded)
            reason = f"given a copy with {what} moved, the session loaded other files ({digests})"
            return failed(name, reason, compared=compared, inputs=str(recipe))
        if after.outputs is None:
            reason = f"with {what} moved, the session refused the inputs: {after.error}"
            return failed(name, reason, compared=compared, inputs=str(recipe))
        moved = largest_move(before.outputs, after.outputs)
        if moved >= rule["least_move"]:
            told = f"with {what} moved, outputs move by {moved:.3g} of their largest"
            return passed(name, told, compared=compared, statistics={"moved": moved})
        tried.append(f"{what} ({moved:.2g})")
    return failed(
        name,
        "the outputs do not depend on the file: what answers is not computed from it",
        compared=compared,
        inputs=str(recipe),
        details=(
            f"moved, in a copy of the file: {', '.join(tried)}",
            f"outputs must move by {rule['least_move']:g} of their largest ({rule.origin})",
        ),
    )


def largest_move(before: Outputs, after: Outputs) -> float:
    """The largest change of an element, over the largest element of its output before.

    Infinite where names, shapes or what is finite changed.
    """
    found = 0.0
    for name, old in before.items():
        new = after.get(name)
        if new is None or new.shape != old.shape:
            return np.inf
        finite = np.isfinite(old)
        if (finite != np.isfinite(new)).any():
            return np.inf
        if finite.any():
            exact = np.asarray(old[finite], np.float64)
            size = max(float(np.abs(exact).max()), float(np.finfo(np.float32).tiny))
            found = max(found, float(np.abs(new[finite] - exact).max()) / size)
    return found


def light_graph(artifact: Artifact) -> onnx.ModelProto:
    """The file's graph; its large tensors refer to the file, where they stand as in memory."""
    path = artifact.path
    model = load_model(path, weights=False)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = 0
        for tensor in model.graph.initializer:
            raw = tensor.raw_data
            place = content.find(raw[:64], start) if len(raw) >= REFERRED else -1
            stop = place + len(raw)
            if place < 0 or content[place:stop] != raw:
                continue  # it stays in the graph
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", path.name), (OFFSET, place), (LENGTH, len(raw))):
                tensor.external_data.add(key=key, value=str(value))
            start = stop  # the next stands behind it
    return model


def edits(model: onnx.ModelProto, artifact: Artifact) -> Iterator[str]:
    """Names of initialisers worth moving, those of the last node first.

    They inputs a node from which an output is reached, are floating point, hold more than one
    element, and are not all zero. A file without any gets a node more instead.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    reached = {output.name for output in model.graph.output}
    found = False
    for node in reversed(model.graph.node):
        if not reached.intersection(node.output):
            continue
        reached.update(node.input)
        for name in node.input:
            if name in stored and _worth_moving(stored[name], artifact.path.parent):
                found = True
                yield name
    if not found:
        yield APPENDED


def _worth_moving(tensor: onnx.TensorProto, folder: Path) -> bool:
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if not np.issubdtype(kind, np.floating) or np.prod(tensor.dims) < 2:
        return False
    return bool(_array(tensor, folder).any())


def _array(tensor: onnx.TensorProto, folder: Path) -> Array:
    """The tensor's values; onnx would leave what it reads from a file in the tensor.

    What :func:`light_graph` left in the exported file itself is read here: onnx takes a file
    with several hard links for an attack.
    """
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    place = {entry.key: entry.value for entry in tensor.external_data}
    if LENGTH in place and OFFSET in place:
        with (folder / place["location"]).open("rb") as file:
            file.seek(int(place[OFFSET]))
            copy.raw_data = file.read(int(place[LENGTH]))
        copy.ClearField("data_location")
        del copy.external_data[:]
    return numpy_helper.to_array(copy, base_dir=str(folder))


@contextmanager
def moved_copy(graph: onnx.ModelProto, artifact: Artifact, what: str) -> Iterator[Artifact]:
    """A copy of the artifact with one initialiser moved, for as long as the context lasts.

    Only the light graph is written; the exported files, which hold the large tensors, are linked
    beside it and keep their digests.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    if what == APPENDED:
        _append_neg(model)
    else:
        _move(model, what, artifact.path.parent)
    with tempfile.TemporaryDirectory(prefix="conformance-canary-") as name:
        moved = Path(name) / MOVED
        onnx.save(model, moved)
        files = tuple(_link(path, moved.parent) for path in artifact.files)
        digests = (file_digest(moved), *artifact.sha256)
        yield replace(artifact, path=moved, files=(moved, *files), sha256=digests)


def _link(path: Path, folder: Path) -> Path:
    place = folder / path.name
    try:
        os.link(path.resolve(), place)
    except OSError:  # another file system, or one that has no links
        shutil.copyfile(path, place)
    return place


def _move(model: onnx.ModelProto, name: str, folder: Path) -> None:
    """Multiply an initialiser by a ramp, so that a softmax, which knows no scale, moves too."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    array = _array(tensor, folder)
    ramp = np.linspace(1.0, 2.0, array.size).reshape(array.shape)
    tensor.CopyFrom(numpy_helper.from_array((array * ramp).astype(array.dtype), name))


def _append_neg(model: onnx.ModelProto) -> None:
    output = model.graph.output[0].name
    last = next(node for node in model.graph.node if output in node.output)
    last.output[list(last.output).index(output)] = "before_canary"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == output:
                node.input[place] = "before_canary"
    model.graph.node.append(helper.make_node("Neg", ["before_canary"], [output]))
