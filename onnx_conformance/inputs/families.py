"""Input families of the checks: the inputs of each, and who must answer them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.padded_rows import stacked
from onnx_conformance.core.registry import Registry
from onnx_conformance.core.spec import MIDDLE, Axes, ModelSpec, TensorSpec, sizes_of
from onnx_conformance.inputs.batch_layout import native_layout
from onnx_conformance.inputs.recipes import Inputs, RawInputs, Recipe, found_recipes
from onnx_conformance.inputs.sweep_plan import extra_batches


@dataclass(frozen=True)
class InputPlan:
    """Inputs to compute ahead, by what is wanted of them.

    Args:
        reference: oracle, native and replicas, and the runtime.
        native: native in float32, and the runtime.
        runtime: the runtime alone.
        repeats: the runtime a second time.
        attempts: whether native accepts them at all.
        sweep: as ``reference``, behind those.
        unoptimised: the runtime with its graph optimisation off.
        native_sweep: as ``sweep`` without the runtime, behind those.
    """

    reference: tuple[Inputs, ...] = ()
    native: tuple[Inputs, ...] = ()
    runtime: tuple[Inputs, ...] = ()
    repeats: tuple[Inputs, ...] = ()
    attempts: tuple[Inputs, ...] = ()
    sweep: tuple[Inputs, ...] = ()
    unoptimised: tuple[Inputs, ...] = ()
    native_sweep: tuple[Inputs, ...] = ()

    @staticmethod
    def of(plans: Collection[InputPlan]) -> InputPlan:
        """The inputs of several plans as one."""
        return InputPlan(
            *(
                tuple(inputs for plan in plans for inputs in getattr(plan, each.name))
                for each in fields(InputPlan)
            )
        )


Family = Callable[[ModelSpec, int], InputPlan]
F = TypeVar("F", bound=Family)
FAMILIES: Registry[Family] = Registry("input family")
DRAWN = "drawn"  # the one family whose size is a choice


def input_family(name: str) -> Callable[[F], F]:
    """Register the decorated function as the family of that name."""

    def decorate(plan: F) -> F:
        FAMILIES.register(name, plan)
        return plan

    return decorate


@dataclass(frozen=True)
class NamedInputs:
    """Inputs that no recipe makes, with a description."""

    label: str
    inputs: Inputs = field(repr=False)


def pinned(seed: int) -> dict[str, Recipe]:
    """The recipes that every profile runs, by the name that stands in a test's id.

    Symbolic axes have four sizes, the smallest and the largest among them.
    """
    return {
        "image": Recipe("image", batch=4, seed=seed),
        "normal": Recipe("normal", seed=seed),
        "zeros": Recipe("zeros", seed=seed),
        "ones": Recipe("ones", seed=seed),
        "small_normal": Recipe("normal", scale=0.1, seed=seed + 1),
        "large_normal": Recipe("normal", scale=10.0, seed=seed + 2),
        "huge_normal": Recipe("normal", scale=1e6, seed=seed + 3),
        "tiny_normal": Recipe("normal", scale=1e-4, seed=seed + 4),
        "onehot": Recipe("onehot", seed=seed, extent=1.0),
        "uniform": Recipe("uniform", seed=seed),
        "sparse": Recipe("sparse", seed=seed, extent=0.0),
        "negative": Recipe("ones", scale=-1.0, seed=seed, extent=0.25),
    }


PINNED_NAMES = tuple(pinned(0))


def replayed(model: str, seed: int) -> dict[str, Recipe]:
    """The recipes that every profile runs on a model: the pinned ones, then those once found."""
    return {**pinned(seed), **found_recipes(model)}


def materialise(recipe: Recipe, model: ModelSpec) -> Inputs:
    """The recipe's inputs; the arrays are shared, so they are read-only."""
    return _materialise(recipe, model.inputs, model.axes)


@lru_cache(maxsize=64)
def _materialise(recipe: Recipe, inputs: tuple[TensorSpec, ...], axes: Axes) -> Inputs:
    input_set = recipe.inputs(inputs, axes)
    for array in input_set.values():
        array.setflags(write=False)
    return input_set


def stack_inputs(input_sets: Sequence[Inputs]) -> Inputs:
    """Inputs that hold the samples of all, in order."""
    return Inputs(
        (name, stacked([inputs[name] for inputs in input_sets])) for name in input_sets[0]
    )


# Five samples of unlike size whose oracles the pinned inputs know already: an error that leaks
# from the large one into its neighbours shows.
# Larger batches take them in turn.
BATCH_MATES = ("large_normal", "image", "large_normal", "image")
UNLIKE_SAMPLES = 5
BATCH_SIZES = (1, 2, 4, 8)
COSTLY_SIZES = (1, 2, 5, 9)  # of models that get no other; 3 and 4 are drawn and pinned


def batch_mates(model: ModelSpec, seed: int) -> tuple[list[Inputs], tuple[int, ...]]:
    """Inputs whose samples, one after another, fill every batch size that is tried; and the sizes.

    Odd and large ones too, as far as the model's cost allows.
    """
    extra = extra_batches(model)
    sizes = tuple(sorted({*BATCH_SIZES, *extra})) if extra else COSTLY_SIZES
    input_sets = _mates(model, seed)
    samples = sum(inputs.samples for inputs in input_sets)
    return input_sets * -(-max(sizes) // samples), sizes


# Ordinary inputs, between which outputs must move and classes must agree.
LARGE_BATCH = 32
ORDINARY_RECIPES = ("small_normal", "normal", "uniform", "image")


def many(seed: int) -> list[Recipe]:
    """Ordinary inputs of many samples, for outputs that few samples do not move."""
    return [
        Recipe("normal", batch=LARGE_BATCH, seed=seed + 11),
        Recipe("uniform", batch=LARGE_BATCH, seed=seed + 11),
    ]


def pinned_inputs(names: tuple[str, ...], model: ModelSpec, seed: int) -> list[Inputs]:
    """Some of the pinned inputs."""
    recipes = pinned(seed)
    return [materialise(recipes[name], model) for name in names]


NON_FINITE = (np.nan, np.inf, -np.inf)


def non_finite(model: ModelSpec, seed: int) -> NamedInputs:
    """Four normal samples with one NaN, one +inf, one -inf, and nothing wrong in the last."""
    base = materialise(Recipe("normal", batch=len(NON_FINITE) + 1, seed=seed), model)
    inputs = Inputs((name, array.copy()) for name, array in base.items())
    for spec in non_finite_specs(model):
        array = inputs[spec.name]
        for sample, value in enumerate(NON_FINITE):
            one = array[sample, ...]  # a view, of a rank-1 input too
            one.flat[one.size // 2] = value
    return NamedInputs(f"normal(batch=4, seed={seed}), samples 0 to 2 with NaN, +inf, -inf", inputs)


def non_finite_specs(model: ModelSpec) -> list[TensorSpec]:
    """The inputs that may be any number, and that every sample has of its own."""
    of_a_sample = [spec for spec in model.inputs if not (model.batched and spec.batch_axis is None)]
    return [spec for spec in of_a_sample if spec.real]


def _mates(model: ModelSpec, seed: int) -> list[Inputs]:
    """The inputs whose samples are run together; what samples share is the same in all."""
    input_sets = pinned_inputs(BATCH_MATES, model, seed)
    shared = [spec.name for spec in model.inputs if model.batched and spec.batch_axis is None]
    if not shared:
        return input_sets

    def alike(inputs: Inputs) -> Inputs:
        first = {name: input_sets[0][name][:1] for name in shared}
        same = {name: np.repeat(array, inputs.samples, axis=0) for name, array in first.items()}
        return Inputs({**inputs, **same})

    return [alike(inputs) for inputs in input_sets]


def repeated(model: ModelSpec, seed: int) -> Inputs:
    """The inputs that are run twice: a batch that the batch-invariance check runs too."""
    return stack_inputs(batch_mates(model, seed)[0]).chosen(slice(2))


def denormal(seed: int) -> Recipe:
    """Inputs below float32's smallest normal number (1.2e-38)."""
    return Recipe("normal", scale=1e-40, seed=seed)


def empty(model: ModelSpec) -> NamedInputs:
    """A batch of no samples."""
    sizes = sizes_of(model.axes, MIDDLE)
    arrays = {spec.name: np.zeros(spec.concrete(0, sizes), spec.held) for spec in model.inputs}
    kind = Inputs if native_layout(model).plain else RawInputs
    return NamedInputs("no sample (batch=0)", kind(arrays))


def malformed(model: ModelSpec, seed: int) -> dict[str, NamedInputs]:
    """Inputs that a session must refuse, by what is wrong with them.

    A size can be wrong only on an axis of a fixed size. A wrong rank is given to the first input
    that is not a scalar, because ONNX Runtime does not check the rank of scalars.
    """
    rows = materialise(Recipe("normal", batch=model.group or 2, seed=seed), model)
    good = native_layout(model).calls(rows)[0]
    first = model.inputs[0].name
    array, other = good[first], "float64" if model.inputs[0].dtype != "float64" else "float32"

    def instead(name: str, value: NDArray[Any]) -> Inputs:
        return RawInputs({**good, name: value})

    others = {name: value for name, value in good.items() if name != first}
    found = {
        "name": NamedInputs("input renamed", RawInputs({**others, f"{first}_misspelt": array})),
        "dtype": NamedInputs(
            f"{other} instead of {model.inputs[0].dtype}",
            instead(first, np.zeros(array.shape, other)),
        ),
    }
    ranked = next((name for name, value in good.items() if value.ndim), None)
    if ranked is not None:
        less = np.ascontiguousarray(good[ranked][0])
        less = less.reshape(good[ranked].shape[1:])  # NumPy makes rank 1 of rank 0
        found["rank"] = NamedInputs("a rank too few", instead(ranked, less))
    fixed = fixed_axis(model)
    if fixed is not None:
        name, axis = fixed
        last = np.take(good[name], [0], axis=axis)
        longer = np.concatenate([good[name], last], axis=axis)
        where = "last axis" if axis == good[name].ndim - 1 else f"axis {axis} of '{name}'"
        found["size"] = NamedInputs(f"{where} one too long", instead(name, longer))
    return found


def fixed_axis(model: ModelSpec) -> tuple[str, int] | None:
    """An input and its last axis of one size only, if any has one."""
    for spec in model.inputs:
        sized = [axis for axis, dim in enumerate(spec.shape) if isinstance(dim, int)]
        if sized:
            return spec.name, sized[-1]
    return None


@input_family("pinned")
def _pinned_plan(model: ModelSpec, seed: int) -> InputPlan:
    recipes = replayed(model.name, seed).values()
    return InputPlan(reference=tuple(materialise(recipe, model) for recipe in recipes))


@input_family(DRAWN)
def _drawn_plan(model: ModelSpec, seed: int, examples: int | None = None) -> InputPlan:
    from onnx_conformance.inputs.strategies import foresee

    drawn = foresee(seed, examples)
    return InputPlan(reference=tuple(materialise(recipe, model) for recipe in drawn))


def plan_of(family: str, model: ModelSpec, seed: int, examples: int | None = None) -> InputPlan:
    """The inputs of a family.

    Args:
        examples: how many recipes are drawn; None for as many as the profile in force says.
    """
    if family == DRAWN:
        return _drawn_plan(model, seed, examples)
    return FAMILIES[family](model, seed)


@input_family("batches")
def _batch_plan(model: ModelSpec, seed: int) -> InputPlan:
    input_sets, sizes = batch_mates(model, seed)
    whole = stack_inputs(input_sets)
    runtime = tuple(whole.chosen(slice(size)) for size in sizes)
    return InputPlan(reference=tuple(input_sets), runtime=() if model.group else runtime)


@input_family("repeat")
def _repeat_plan(model: ModelSpec, seed: int) -> InputPlan:
    inputs = repeated(model, seed)
    return InputPlan(runtime=(inputs,), repeats=(inputs,))


@input_family("non_finite")
def _non_finite_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(native=(non_finite(model, seed).inputs,))


@input_family("denormal")
def _denormal_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(reference=(materialise(denormal(seed), model),))


@input_family("empty")
def _empty_plan(model: ModelSpec, seed: int) -> InputPlan:
    inputs = empty(model).inputs
    return InputPlan(runtime=(inputs,), attempts=(inputs,))


@input_family("malformed")
def _malformed_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(runtime=tuple(named.inputs for named in malformed(model, seed).values()))
