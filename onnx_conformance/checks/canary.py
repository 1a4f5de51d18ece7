"""The check canary: when one weight of the file is changed, the session's answer must change."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from onnx_conformance.checks.canary_edits import (
    LENGTH,
    OFFSET,
    movable_output,
    move_output,
    move_weight,
    weights_to_move,
)
from onnx_conformance.checks.registry import register_check
from onnx_conformance.checks.verdict import unanswered
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.errors import StageFailure, is_lost
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.plain_outputs import TEXT
from onnx_conformance.core.results import CheckResult, failed, not_applicable, passed, skipped
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.families import InputPlan, input_family, materialise, pinned
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.run.subject import Artifact, Subject

ORDINARY, SEVERAL = "normal", "image"
ATTEMPTS = 8  # a moved bound or shift may move nothing on some inputs
HASTE = 1  # so many are tried on one sample; then all on several
SAMPLES = 16
LEAST_EXTERNAL_BYTES = (
    1024  # bytes; a larger tensor stays where it is, in the file that was exported
)
SIGN_NODE = "the sign of its output"
MOVED_FILE = "moved.onnx"
DEAF = "the outputs do not depend on the file: the session computes them from something else"
CHECK = "canary"


def _inputs(model: ModelSpec, seed: int) -> Inputs:
    return materialise(pinned(seed)[ORDINARY], model)


@input_family("canary")
def _plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(runtime=(_inputs(model, seed),))


@register_check(control="another_file_answers", families=("canary",))
def check_canary(subject: Subject) -> CheckResult:
    """The session computes with this very file: an edited copy of the file gives other answers.

    One weight is multiplied by a ramp from 1 to 2. A worker that returns the reference, or that
    never loads the file, gives the same answers as before. Where no changed weight shows on the
    inputs, even when the CPU runs the copy's own nodes, a further node changes an output.
    """
    attempt = _Attempt(subject)
    if attempt.refusal:
        return attempt.failed(attempt.refusal)
    weights = weights_to_move(attempt.graph, subject.artifact.path.parent)[:ATTEMPTS]
    for place, weight in enumerate([*weights, *weights[:HASTE]]):
        if place == HASTE:
            attempt.use_more_samples()
        result = attempt.try_weight(weight)
        if result is not None:
            return result
    return attempt.verdict_on_weights() or attempt.try_output()


class _Attempt:
    """The copies of one file that were tried, on one set of inputs."""

    def __init__(self, subject: Subject) -> None:
        self.graph = light_graph(subject.artifact)
        self.refusal = ""
        self._subject = subject
        self._rule = subject.tolerances.rule(CHECK, subject.case)
        self._tried: dict[str, str] = {}
        self._before: Outputs = {}
        several = Recipe("normal", batch=SAMPLES, seed=subject.seed)
        for recipe in (*map(pinned(subject.seed).__getitem__, (ORDINARY, SEVERAL)), several):
            self._set_inputs(recipe)
            outputs = list(self._before.values())[: len(self.graph.graph.output)]  # no sizes
            if self.refusal or any(map(_speaks, outputs)):
                break  # of one sample all may be zeros, as after a Relu, or NaN

    def use_more_samples(self) -> None:
        """Several samples: to one alone, an expert that it did not choose does not matter."""
        self._set_inputs(Recipe("normal", batch=SAMPLES, seed=self._subject.seed))

    def _set_inputs(self, recipe: Recipe) -> None:
        inputs = materialise(recipe, self._subject.model)
        try:
            answer = self._subject.run(inputs)
        except StageFailure:
            if not self._before:
                raise
            return  # too large a batch: the first one will do
        if answer.outputs is not None:
            self._before, self._inputs, self._label = answer.outputs, inputs, str(recipe)
        elif not self._before:
            self.refusal, self._label = unanswered(answer), str(recipe)

    def failed(self, reason: str, *details: str) -> CheckResult:
        """The verdict that is red, with what was tried."""
        return failed(reason, compared=self._compared, inputs=self._label, details=tuple(details))

    @property
    def _compared(self) -> int:
        return sum(array.size for array in self._before.values())

    def try_weight(self, weight: str) -> CheckResult | None:
        """A verdict, if the copy with this weight moved gives one."""
        folder = self._subject.artifact.path.parent
        with copy_with(
            self.graph, self._subject.artifact, partial(_moving, weight, folder)
        ) as artifact:
            return self._try(artifact, weight)

    def try_output(self) -> CheckResult:
        """The verdict of the copy with an output moved by a node more."""
        output = movable_output(self.graph, self._before)
        tried = [f"{what} ({moved})" for what, moved in self._tried.items()]
        if output is None:
            return self._without_numbers()
        names = [value.name for value in self.graph.graph.output]
        answered = list(self._before.values())[names.index(output)]
        with copy_with(
            self.graph, self._subject.artifact, lambda model: move_output(model, output, answered)
        ) as artifact:
            result = self._try(artifact, SIGN_NODE)
        if result is None:
            return self.failed(
                DEAF, f"moved, in a copy of the file: {', '.join([*tried, SIGN_NODE])}"
            )
        if result.passed and tried:
            reason = f"{result.reason}; weights without effect on {self._label}: {', '.join(tried)}"
            return replace(result, reason=reason)
        return result

    def _without_numbers(self) -> CheckResult:
        """The verdict where no output holds a number that a further node could change."""
        numbers = [spec.name for spec in self._subject.model.outputs if spec.dtype != TEXT]
        if not numbers:
            return not_applicable("its outputs are text, which no further node can change")
        reason = "no output holds a finite number, so nothing shows that the file is computed"
        native = self._subject.native(self._inputs)
        finite = any(np.isfinite(native[name]).any() for name in numbers if name in native)
        return self.failed(f"{reason}; native's do") if finite else skipped(reason)

    def verdict_on_weights(self) -> CheckResult | None:
        """The verdict if a weight that was moved shows when the CPU runs the copy's own nodes."""
        folder, plain = self._subject.artifact.path.parent, self._subject
        try:
            before = plain.unoptimised([self._inputs])[0].outputs if self._tried else None
        except StageFailure:
            return None
        for weight in self._tried if before is not None else ():
            with copy_with(
                self.graph, plain.artifact, partial(_moving, weight, folder)
            ) as artifact:
                try:
                    after = plain.with_artifact(artifact).unoptimised([self._inputs])[0].outputs
                except StageFailure:
                    continue
            moved = 0.0 if after is None else largest_move(before or {}, after)
            if moved >= self._rule["least_move"]:
                message = (
                    f"with {weight} changed, they change by {moved:.3g} when the CPU runs the copy"
                )
                return self.failed(
                    DEAF,
                    message,
                    f"moved, in a copy of the file: {', '.join(self._tried)}",
                    f"outputs must change by {self._rule['least_move']:g} of their largest value "
                    f"({self._rule.origin})",
                )
        return None

    def _try(self, artifact: Artifact, what: str) -> CheckResult | None:
        edited = self._subject.with_artifact(artifact)
        try:
            after, loaded = edited.run(self._inputs), edited.session.sha256
        except StageFailure as failure:
            if is_lost(failure):
                raise
            self._tried[what] = f"not opened: {failure.reason[:80]}"
            return None
        if loaded != artifact.sha256:
            digests = " and ".join(digest[:12] for digest in loaded)
            return self.failed(
                f"given a copy with {what} changed, the session loaded other files ({digests})"
            )
        if after.outputs is None:
            self._tried[what] = "refused"
            return None
        moved = largest_move(self._before, after.outputs)
        if moved < self._rule["least_move"]:
            self._tried[what] = f"{moved:.2g}"
            return None
        reason = f"with {what} changed, outputs change by {moved:.3g} of their largest value"
        return passed(reason, compared=self._compared, statistics={"moved": moved})


def _speaks(array: Array) -> bool:
    """Whether a number in it is finite and not 0."""
    return bool(array[np.isfinite(array)].any()) if array.dtype.kind in "biuf" else False


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
            place = content.find(raw[:64], start) if len(raw) >= LEAST_EXTERNAL_BYTES else -1
            stop = place + len(raw)
            if place < 0 or content[place:stop] != raw:
                continue  # it stays in the graph
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", path.name), (OFFSET, place), (LENGTH, len(raw))):
                tensor.external_data.add(key=key, value=str(value))
            start = stop  # the next stands behind it
    return model


@contextmanager
def copy_with(
    graph: onnx.ModelProto, artifact: Artifact, edit: Callable[[onnx.ModelProto], None]
) -> Iterator[Artifact]:
    """An edited copy of the artifact, for as long as the context lasts.

    Only the light graph is written; the exported files, which hold the large tensors, are linked
    beside it and keep their digests.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    edit(model)
    with tempfile.TemporaryDirectory(prefix="conformance-canary-") as name:
        moved = Path(name) / MOVED_FILE
        onnx.save(model, moved)
        files = tuple(_link(path, moved.parent) for path in artifact.files)
        digests = (file_digest(moved), *artifact.sha256)
        yield replace(artifact, path=moved, files=(moved, *files), sha256=digests)


def _moving(weight: str, folder: Path, model: onnx.ModelProto) -> None:
    move_weight(model, weight, folder)


def _link(path: Path, folder: Path) -> Path:
    place = folder / path.name
    try:
        os.link(path.resolve(), place)
    except OSError:  # another file system, or one that has no links
        shutil.copyfile(path, place)
    return place
