"""Between samples, which everything in the suite knows, and the arrays that workers take.

A set of inputs holds a row for each sample, in every input: axis 0 is the sample, whatever the
model's own layout is. Where it enters a worker it becomes one call or several, each in the model's
layout: the batch turned to its own axis, an input that samples share given once, a fixed batch
filled up with other samples, a model without a batch called for each sample. Where the answers
come back, they become rows again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.documents import CallPlan, FileFacts
from onnx_conformance.core.padded_rows import fitted, stacked
from onnx_conformance.core.spec import Axes, Axis, ModelSpec, TensorSpec, size_of
from onnx_conformance.core.ties import CANDIDATES, LAYOUT, OPEN, answered, in_rows
from onnx_conformance.inputs.recipes import Inputs, RawInputs, Recipe


@dataclass(frozen=True)
class FileNames:
    """The spec's names of inputs and outputs, each with the file's; what is not there is the same.

    Routes that cannot set names choose their own; the check ``interface`` judges those of routes
    that can.

    Args:
        halves: the inputs, by the spec's names, that are float32 there and float16 in the file.
    """

    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    halves: frozenset[str] = frozenset()

    @staticmethod
    def of(model: ModelSpec, facts: Mapping[str, Any]) -> FileNames:
        """The names of a model's inputs and outputs in a file.

        Args:
            facts: what :func:`onnx_conformance.core.onnx_file.inspect` found in the file.
        """
        taken, given = pairs(model.inputs, facts["inputs"]), pairs(model.outputs, facts["outputs"])
        return FileNames(
            {spec.name: one["name"] for spec, one in taken},
            {spec.name: one["name"] for spec, one in given},
            frozenset(spec.name for spec, one in taken if is_half_of(spec, one.get("dtype"))),
        )

    def to_file(self, inputs: Inputs) -> Inputs:
        """Inputs under the file's names; raw ones stay raw, and the very ones if names agree."""
        if self.halves and not isinstance(inputs, RawInputs):
            with np.errstate(over="ignore"):  # as a Cast in the file gives infinity
                inputs = Inputs(
                    (name, array.astype(np.float16) if name in self.halves else array)
                    for name, array in inputs.items()
                )
        if all(self.inputs.get(name, name) == name for name in inputs):
            return inputs
        kind = type(inputs)
        return kind((self.inputs.get(name, name), array) for name, array in inputs.items())

    def carried(self, carries: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Outputs and the inputs that get them, under the file's names."""
        return [(self.outputs.get(new, new), self.inputs.get(old, old)) for new, old in carries]

    def to_model(self, outputs: Outputs) -> dict[str, Array]:
        """Outputs under the spec's names."""
        ours = {theirs: name for name, theirs in self.outputs.items()}
        return {ours.get(name, name): array for name, array in outputs.items()}


def is_half_of(spec: TensorSpec, dtype: str | None) -> bool:
    """Whether a file has in float16 what the model has in float32."""
    return (spec.dtype, dtype) == ("float32", "float16")


def pairs(
    specs: Sequence[TensorSpec], tensors: Sequence[Mapping[str, Any]]
) -> list[tuple[TensorSpec, Mapping[str, Any]]]:
    """Specs and a file's tensors: by name if they are the same set, else in order.

    Where they are not as many, only those of the same name.
    """
    found = {tensor["name"]: tensor for tensor in tensors}
    if len(specs) == len(tensors) and {spec.name for spec in specs} != found.keys():
        return list(zip(specs, tensors, strict=True))
    return [(spec, found[spec.name]) for spec in specs if spec.name in found]


Places = dict[str, "int | None"]  # the batch axis by name; None where there is none


@dataclass(frozen=True)
class BatchLayout:
    """How a model takes samples.

    Args:
        inputs, outputs: by name, which axis is the batch.
        group: how many samples every call takes; 0 for any number.
        sized: names of outputs whose sizes stand beside their rows.
        names: what the worker calls inputs and outputs.
    """

    inputs: Places
    outputs: Places
    group: int = 0
    sized: tuple[str, ...] = ()
    names: FileNames = field(default_factory=FileNames)

    @property
    def batched(self) -> bool:
        """Whether a call takes several samples at all."""
        return any(axis is not None for axis in self.inputs.values())

    @property
    def plain(self) -> bool:
        """Whether rows are what the model takes and gives: the batch is axis 0 everywhere."""
        places = (*self.inputs.values(), *self.outputs.values())
        simple = not self.group and not self.sized
        return simple and all(axis == 0 for axis in places)

    def calls(self, inputs: Inputs) -> list[Inputs]:
        """The inputs as the worker takes them, call by call; ``RawInputs`` as they are."""
        if self.plain or isinstance(inputs, RawInputs):
            return [self.names.to_file(inputs)]
        return [self.names.to_file(self._call(inputs, rows)) for rows, _ in self.groups(inputs)]

    def smallest_calls(self, input_sets: Iterable[Inputs]) -> list[Inputs]:
        """The inputs call by call, each of one sample, or of as many as every call takes."""
        found: list[Inputs] = []
        for inputs in input_sets:
            if self.group:
                found += self.calls(inputs)
                continue
            for sample in inputs.each_alone():
                found += self.calls(sample)
        return found

    def first(self, inputs: Inputs) -> Inputs:
        """The samples of the first call alone."""
        if self.plain or isinstance(inputs, RawInputs):
            return inputs
        rows, real = self.groups(inputs)[0]
        return Inputs(
            (name, array[rows[:real]] if name in self.inputs else array)
            for name, array in inputs.items()
        )

    def rows(self, inputs: Inputs, answers: Sequence[Outputs]) -> dict[str, Array]:
        """The answers to the calls of :meth:`calls`, a row for each sample of the inputs.

        An answer of another size than its call stays as it came, so that its size is seen.
        """
        if self.plain or isinstance(inputs, RawInputs):
            return self.names.to_model(answers[0])
        answers = [self.names.to_model(answer) for answer in answers]
        groups = self.groups(inputs)
        order = np.argsort([row for rows, real in groups for row in rows[:real]], kind="stable")
        found: dict[str, Array] = {}
        for name in answered(answers[0]):
            parts = [
                self._rows_of(name, np.asarray(answer[name]), len(rows), real)
                for (rows, real), answer in zip(groups, answers, strict=True)
            ]
            found[name] = stacked(parts)
            if name in self.sized:
                sizes = [np.repeat([part.shape[1:]], len(part), axis=0) for part in parts]
                found[size_of(name)] = np.concatenate(sizes).astype(np.int64)
        for name in answered(answers[0]):
            found |= self._choices_of(name, groups, answers)
            found |= self._open_places_of(name, groups, answers)
        return {
            n: a[order] if len(a) == len(order) and not n.endswith(LAYOUT) else a
            for n, a in found.items()
        }

    def _choices_of(
        self, name: str, groups: Sequence[tuple[list[int], int]], answers: Sequence[Outputs]
    ) -> dict[str, Array]:
        """What an output's positions were chosen from, as rows; nothing where it cannot be."""
        axis = self.outputs.get(name)
        if not all(name + LAYOUT in answer for answer in answers) or (
            axis is None and self.batched
        ):
            return {}
        parts = [in_rows(a[name + CANDIDATES], a[name + LAYOUT], a[name], axis) for a in answers]
        known = [part for part in parts if part is not None]
        alike = {(part[0].shape[1:], *part[1].tolist()) for part in known}
        if len(known) < len(parts) or len(alike) > 1:
            return {}
        rows = [part[0][:real] for part, (_, real) in zip(known, groups, strict=True)]
        return {name + CANDIDATES: np.concatenate(rows), name + LAYOUT: known[0][1]}

    def _open_places_of(
        self, name: str, groups: Sequence[tuple[list[int], int]], answers: Sequence[Outputs]
    ) -> dict[str, Array]:
        """The places of an output that native leaves open, as rows; nothing where none are."""
        if not any(name + OPEN in answer for answer in answers):
            return {}
        parts = [
            self._rows_of(name, a.get(name + OPEN, np.zeros(a[name].shape, bool)), len(rows), real)
            for (rows, real), a in zip(groups, answers, strict=True)
        ]
        return {name + OPEN: stacked(parts)}

    def plan(self, inputs: Inputs) -> list[CallPlan]:
        """The calls as plain data for a repro bundle; none where rows are what the file takes."""
        if self.plain or isinstance(inputs, RawInputs):
            return []
        return [{"rows": rows[:real], "axes": self.outputs} for rows, real in self.groups(inputs)]

    def _call(self, inputs: Inputs, rows: list[int]) -> Inputs:
        call = Inputs()
        for name, array in inputs.items():
            if name not in self.inputs:  # such as a weight that is fed
                call[name] = array
                continue
            axis = self.inputs[name]
            if axis is None:
                call[name] = np.array(array[rows[0]] if rows else array)
            else:
                call[name] = np.array(np.moveaxis(array[rows], 0, axis), order="C")
        return call

    def groups(self, inputs: Inputs) -> list[tuple[list[int], int]]:
        """(rows, real) of each call: the samples that it takes, and how many of them count.

        Rows behind the first ``real`` are repeated to fill a call of fixed size; their answers
        are dropped.
        """
        known = [name for name in self.inputs if name in inputs]
        count = min((len(inputs[name]) for name in known), default=0)
        if not count:
            return [([], 0)]
        if not self.batched:
            return [([row], 1) for row in range(count)]
        alike: dict[tuple[bytes, ...], list[int]] = {}
        shared = [name for name in known if self.inputs[name] is None]
        for row in range(count):
            alike.setdefault(tuple(inputs[n][row].tobytes() for n in shared), []).append(row)
        if not self.group:
            return [(rows, len(rows)) for rows in alike.values()]
        return [
            (_filled(rows, start, self.group), min(self.group, len(rows) - start))
            for rows in alike.values()
            for start in range(0, len(rows), self.group)
        ]

    def _rows_of(self, name: str, array: Array, size: int, real: int) -> Array:
        axis = self.outputs.get(name)
        if axis is None:  # it is of the call as a whole
            return np.broadcast_to(array, (real, *array.shape))
        if array.ndim <= axis:
            return array[None]
        turned = np.moveaxis(array, axis, 0)
        return turned[:real] if len(turned) == size else turned


def _filled(rows: list[int], start: int, size: int) -> list[int]:
    """``size`` rows from ``start`` on, filled up by those before: zeros would hide a leak."""
    chosen, others = rows[start : start + size], rows[:start] or rows
    return chosen + [others[place % len(others)] for place in range(size - len(chosen))]


def fitted_to(model: ModelSpec, native: Outputs, outputs: Outputs) -> dict[str, Array]:
    """Outputs whose size the values decide, in the arrays' sizes of native's.

    Nothing is lost: what their sizes are stands beside them, and is compared.
    """
    return {
        name: fitted(array, native[name].shape[1:])
        if name in model.by_values and name in native
        else array
        for name, array in outputs.items()
    }


def layout_of(
    inputs: Iterable[TensorSpec],
    outputs: Iterable[TensorSpec],
    group: int,
    sized: tuple[str, ...] = (),
) -> BatchLayout:
    """The layout of tensors as their specs write them."""
    return BatchLayout(
        {spec.name: spec.batch_axis for spec in inputs},
        {spec.name: spec.batch_axis for spec in outputs},
        group,
        sized,
    )


def first_call(
    recipe: Recipe, inputs: tuple[TensorSpec, ...], axes: Axes = (), group: int = 0
) -> Inputs:
    """A recipe's inputs, or the first part of them that one call takes."""
    return layout_of(inputs, (), group).calls(recipe.inputs(inputs, axes))[0]


def native_layout(model: ModelSpec) -> BatchLayout:
    """How the native model takes samples."""
    return layout_of(model.inputs, model.outputs, model.group, model.sized)


def file_layout(model: ModelSpec, facts: FileFacts) -> BatchLayout:
    """How a file takes samples: as the model does, in groups where it fixes its batch.

    Under the file's own names.

    Args:
        facts: what :func:`onnx_conformance.core.onnx_file.inspect` found in the file.
    """
    layout = layout_of(model.inputs, model.outputs, fixed_batch(model, facts), model.sized)
    return replace(layout, names=FileNames.of(model, facts))


def fixed_batch(model: ModelSpec, facts: FileFacts) -> int:
    """The one number of samples that a file takes; 0 where it leaves its batch open."""
    for spec, tensor in pairs(model.inputs, facts["inputs"]):
        axis, shape = spec.batch_axis, tensor["shape"]
        if axis is None or not shape or len(shape) != len(spec.shape):
            continue
        size = shape[axis]
        if isinstance(size, int) and size > 0:
            return size
    return 0


def with_fixed_sizes(model: ModelSpec, facts: FileFacts) -> ModelSpec:
    """The model with one size for each symbolic axis to which a file gives one.

    The shapes stay symbolic, so that what the file fixes can be told.
    """
    fixed: dict[str, int] = {}
    for spec, tensor in pairs(model.inputs, facts["inputs"]):
        shape = tensor["shape"] or []
        for dim, size in zip(spec.shape, shape, strict=False):
            if isinstance(dim, str) and isinstance(size, int) and size > 0:
                fixed.setdefault(dim, size)
    if not any(name in fixed for name, _ in model.axes):
        return model
    axes = tuple(
        (name, Axis(fixed[name], fixed[name]) if name in fixed else axis)
        for name, axis in model.axes
    )
    return replace(model, axes=axes)
