"""Validation of a user model and its spec: each finding in one sentence, with the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.plain_outputs import TEXT
from onnx_conformance.core.size_expressions import evaluate, names_in
from onnx_conformance.core.spec import (
    BATCH_NAMES,
    Axes,
    Axis,
    InputSpecs,
    Shape,
    TensorSpec,
    sizes_of,
)
from onnx_conformance.inputs.batch_layout import BatchLayout, first_call, layout_of
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.workers.built_model import BuiltModel
from onnx_conformance.workers.user_model.examples import specs_of_examples
from onnx_conformance.workers.user_model.infer_spec import (
    TrialRun,
    outputs_of,
)
from onnx_conformance.workers.user_model.suggested_spec import suggestion

RANGES_TRIED = (("normal", 10.0), ("normal", 1.0), ("zeros", 1.0), ("ones", 1.0), ("image", 3.0))
RUNS = (Recipe("uniform", batch=2), Recipe("normal", batch=3, extent=1.0))
MANY_SAMPLES = 12  # samples, of a model that takes them one by one
SMALL_RECIPE = Recipe("uniform", batch=5, extent=0.0)  # of models of several sizes


def specs_of_inputs(declaration: Declaration, examples: Any, built: BuiltModel) -> InputSpecs:
    """The inputs and axes: declared, or what its function returns beside it, or the model's own."""
    if declaration.inputs:
        return InputSpecs(declaration.inputs, built.axes)
    if isinstance(examples, InputSpecs):
        return examples
    if isinstance(examples, list) and all(isinstance(part, TensorSpec) for part in examples):
        return InputSpecs(tuple(examples))
    if examples is not None:
        return specs_of_examples(declaration.name, examples, built)
    if built.inputs:
        return InputSpecs(built.inputs, built.axes)
    raise UsageError(
        f"model '{declaration.name}' does not describe its inputs; give "
        'inputs=[TensorSpec("x", ("batch", 16))], or examples={"x": array}, or return '
        "(model, {name: array})"
    )


def checked_axes(name: str, inputs: tuple[TensorSpec, ...], ranges: Mapping[str, Axis]) -> Axes:
    """The symbolic axes other than the batch, each with its range or the usual one."""
    for spec in inputs:
        _check_shape(name, spec)
    batches = {dim for spec in inputs for dim in spec.shape if dim in BATCH_NAMES}
    if len(batches) > 1:
        raise UsageError(
            f"model '{name}': its inputs call their batch axis {sorted(map(str, batches))}; "
            "use one name"
        )
    dims = [dim for spec in inputs for dim in spec.shape if isinstance(dim, str)]
    named = [label for dim in dims if dim not in BATCH_NAMES for label in names_in(dim)]
    for label in ranges:
        if label not in named:
            raise UsageError(f"axes names '{label}', which is in no input's shape")
    axes = {label: ranges.get(label, Axis()) for label in named}
    for label, axis in axes.items():
        if axis.size(0.0) == axis.size(1.0):
            raise UsageError(
                f"model '{name}': axis '{label}' has one size, {axis.low}, which cannot show "
                f"that it may vary; give it a range, or write {axis.low} in the shape"
            )
    return tuple(axes.items())


def check_inputs(name: str, inputs: tuple[TensorSpec, ...], built: BuiltModel) -> None:
    """Refuse inputs that the model does not accept, or of which the range is not known."""
    for spec in inputs:
        if not spec.floating and spec.domain.real:
            what = (
                "range; add domain=Integers(0, N) for the numbers 0 to N-1, or Mask(), "
                "Choice(...) or Lengths(axis)"
            )
            if spec.dtype == TEXT:
                what = 'texts; add domain=Choice(("a", "b"))'
            raise UsageError(
                f"model '{name}': input '{spec.name}' is {spec.dtype} without a known {what}"
            )
    problem = built.refuses([spec.name for spec in inputs])
    if problem:
        raise UsageError(f"model '{name}' {problem}")


def check_calibrable(name: str, inputs: tuple[TensorSpec, ...]) -> None:
    """Refuse to calibrate a model unless it has one floating input of one size."""
    one = inputs[0]
    if len(inputs) > 1 or not one.floating or any(isinstance(dim, str) for dim in one.sample):
        raise UsageError(
            f"model '{name}': calibrate=True is for models of one floating input of one size; "
            "leave it out, and give the model weights on which its outputs depend on the input"
        )


def varied(inputs: Sequence[TensorSpec]) -> list[Recipe]:
    """Further recipes of the first run's sizes: an output that changes its size is sized by values.

    A model without a batch is called for each of several samples.
    """
    batched = any(spec.batch_axis is not None for spec in inputs)
    return [
        Recipe(kind, scale, batch=2 if batched else MANY_SAMPLES) for kind, scale in RANGES_TRIED
    ]


@dataclass(frozen=True)
class SpecTrial:
    """A built model beside the inputs that its spec describes, to be run on them.

    Args:
        group: how many samples every call takes, where the spec fixes that; else 0.
    """

    name: str
    built: BuiltModel
    inputs: tuple[TensorSpec, ...]
    axes: Axes
    group: int

    def first_call(self, recipe: Recipe) -> Inputs:
        """A recipe's inputs, or the first part of them that one call takes."""
        return first_call(recipe, self.inputs, self.axes, self.group)

    def run(self, recipe: Recipe) -> TrialRun:
        """What the model answers to a recipe's inputs.

        Raises:
            UsageError: it refuses them; the sentence suggests a spec that it takes.
        """
        layout = layout_of(self.inputs, (), self.group)
        input_set = recipe.inputs(self.inputs, self.axes)
        calls = [self._answer(call) for call in layout.calls(input_set)]
        samples = self.group or recipe.batch
        sizes = {**sizes_of(self.axes, recipe.extent), **dict.fromkeys(BATCH_NAMES, samples)}
        outputs: dict[str, int | None] = dict.fromkeys(calls[0], 0 if layout.batched else None)
        rows = BatchLayout(layout.inputs, outputs, self.group).rows(input_set, calls)
        return TrialRun(sizes, tuple(calls), rows)

    def _answer(self, inputs: Inputs) -> Outputs:
        try:
            return self.built.run(inputs)
        except UsageError:
            raise
        except Exception as error:
            shapes = ", ".join(f"{n} {list(a.shape)} {a.dtype}" for n, a in inputs.items())
            text = " ".join(str(error).split())[:300]
            remedy = suggestion(self.built, self.inputs, self.axes, text)
            raise UsageError(
                f"model '{self.name}' refuses what its spec describes ({shapes}): "
                f"{type(error).__name__}: {text}; "
                + (remedy or "fix shape, dtype, domain or axes in the spec")
            ) from error


def checked_outputs(
    declaration: Declaration, inputs: tuple[TensorSpec, ...], runs: Sequence[TrialRun]
) -> tuple[TensorSpec, ...]:
    """What the model answered, under the declared names; a declared spec must say the same."""
    found = list(runs[0].rows)
    taken = {spec.name for spec in inputs}
    names = [f"{name}_out" if name in taken else name for name in _names(declaration, found)]
    seen = outputs_of(names, [_renamed(run, names) for run in runs], inputs)
    outputs = []
    for wanted, got, label in zip(declaration.outputs or names, seen, found, strict=True):
        if isinstance(wanted, str):
            outputs.append(replace(got, name=wanted))
            continue
        shapes = [(run, call[label].shape) for run in runs for call in run.calls]
        fits = all(_fits(wanted.shape, shape, run) for run, shape in shapes)
        if not fits or wanted.dtype != got.dtype:
            raise UsageError(
                f"model '{declaration.name}': output '{wanted.name}' is {got.dtype} "
                f"{list(got.shape)}, but its spec says {wanted.dtype} {list(wanted.shape)}; fix "
                "it, or omit outputs="
            )
        outputs.append(wanted)
    return tuple(outputs)


def _names(declaration: Declaration, found: list[str]) -> list[str]:
    """The declared names of the outputs that were found, or their own."""
    if not found:
        raise UsageError(f"model '{declaration.name}' returns no tensor")
    declared = [one if isinstance(one, str) else one.name for one in declaration.outputs]
    names = declared or found
    if len(names) != len(found):
        raise UsageError(
            f"model '{declaration.name}' returns {len(found)} outputs, but its spec has "
            f"{len(names)}: {', '.join(names)}"
        )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UsageError(
            f"model '{declaration.name}': two outputs are called '{twice[0]}'; rename one"
        )
    return names


def _renamed(run: TrialRun, names: Sequence[str]) -> TrialRun:
    calls = tuple(dict(zip(names, call.values(), strict=True)) for call in run.calls)
    return replace(run, calls=calls, rows=dict(zip(names, run.rows.values(), strict=True)))


def _fits(wanted: Shape, got: tuple[int, ...], run: TrialRun) -> bool:
    """Whether a declared shape is that of an answer; an axis that no input names may be any."""
    return len(wanted) == len(got) and all(
        dim == size if isinstance(dim, int) else evaluate(dim, run.sizes) in (None, size)
        for dim, size in zip(wanted, got, strict=True)
    )


def _check_shape(name: str, spec: TensorSpec) -> None:
    """Refuse several batch axes, sizes below 1, and sizes that follow from the batch."""
    batches = [dim for dim in spec.shape if dim in BATCH_NAMES]
    if len(batches) > 1:
        kept = [dim if place == spec.batch_axis else f"{dim}_{place}" if dim in BATCH_NAMES else dim
                for place, dim in enumerate(spec.shape)]  # fmt: skip
        raise UsageError(
            f"model '{name}': input '{spec.name}' has {len(batches)} axes called batch; "
            f"rename the others: {replace(spec, shape=tuple(kept))}"
        )
    for dim in spec.shape:
        if not isinstance(dim, str):
            if dim is None or dim < 1:
                raise UsageError(
                    f"model '{name}': input '{spec.name}' has a size of {dim}; give the size, or "
                    f"a name for an axis that varies: {_corrected(spec, dim)}"
                )
            continue
        used = names_in(dim)
        if dim not in BATCH_NAMES and set(used) & set(BATCH_NAMES):
            raise UsageError(
                f"model '{name}': the size '{dim}' of input '{spec.name}' follows from the batch; "
                f"samples need a batch axis of their own: {_corrected(spec, dim)}"
            )


def _corrected(spec: TensorSpec, wrong: int | str) -> str:
    """The spec with a name or a batch in the place of a dimension that cannot be."""
    dims = tuple(
        ("batch" if place == 0 else f"axis_{place}") if dim == wrong else dim
        for place, dim in enumerate(spec.shape)
    )
    return str(replace(spec, shape=dims))


def check_steady(trial: SpecTrial, first: Outputs) -> None:
    """Refuse a model that changes its weights, or whose second answer is not ``first``."""
    again = trial.built.run(trial.first_call(RUNS[0]))
    if trial.built.changed():
        raise UsageError(
            f"model '{trial.name}' changes its own weights when it runs, so a layer is in training "
            "mode; make eval() reach every layer"
        )
    for (label, one), other in zip(first.items(), again.values(), strict=True):
        if one.tobytes() != other.tobytes():
            raise UsageError(
                f"model '{trial.name}' gives two answers to the same input ('{label}'): a layer is "
                "in training mode, draws random numbers (Dropout?) or keeps a state between calls "
                "(stateful=True?); make it deterministic, and its state an input and an output"
            )


def check_oracle(trial: SpecTrial, inputs: Inputs) -> None:
    """Refuse a model that cannot be computed in float64."""
    problem = trial.built.float64_problem(inputs)
    if problem:
        raise UsageError(
            f"model '{trial.name}' cannot be computed in float64 ({problem}); let its code take "
            "the dtype from its inputs, or register it with oracle=False: verdicts then rest on "
            "allclose"
        )
