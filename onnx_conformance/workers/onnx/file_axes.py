"""The axes of an ONNX file's inputs: which is the batch, and which sizes the others may have.

A file names its axes or leaves them open, and says nothing of sizes: what it accepts is found by
running it, from small and ordinary sizes on.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from onnx_conformance.core.domains import Bounded, Draw, Integers, Lengths
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.spec import BATCH_NAMES, Axes, Axis, Dim, InputSpecs, Shape, TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.onnx.input_ranges import ASSUMED_BOUND, UNKNOWN

BATCH = BATCH_NAMES[1]
SIGNS = "+-*/()"
OPEN_AXIS = "?"  # an axis without a size or a name
# Ranges for an axis, tried in order: any size, then what networks of many strides ask for.
RANGES = (
    Axis(), Axis(4, 24), Axis(4, 24, 2), Axis(8, 40, 8), Axis(16, 64, 16), Axis(32, 96, 32),
    Axis(64, 128, 32), Axis(224, 288, 32), Axis(512, 1024, 128), Axis(512, 1024, 512), Axis(1, 8),
)  # fmt: skip
# Sizes that an axis which is open in name alone may be fixed to inside, tried in order.
SIZES = (32, 48, 64, 28, 80, 96, 112, 128, 16, 8, 160, 192, 224, 256, 1, 3, 299, 320, 512)
MOST_TRIALS = 200
LOUD = Bounded(-128.0, 128.0)  # where ordinary numbers leave an output as it is
MOST_STILL = 21  # specs that the file takes and at which an output stays as it is
DRAWS = 3  # inputs between which every output should move

FileRun = Callable[[Inputs], Any]


def shape_of(name: str, dims: Sequence[Dim]) -> list[Dim]:
    """The dimensions as the file has them: ``?`` for open, whole numbers, or names.

    Of a name such as ``past+1`` the signs are kept: it may be a size that follows from another.

    Raises:
        UsageError: an axis of size 0.
    """
    found: list[Dim] = []
    for axis, dim in enumerate(dims):
        if dim == 0:
            raise UsageError(
                f"input '{name}' has a size of 0 on axis {axis}, so ONNX Runtime feeds it nothing "
                "else: an axis of any size has a name, or no size at all "
                "(onnx.tools.update_model_dims writes one)"
            )
        if isinstance(dim, int):
            found.append(dim if dim > 0 else OPEN_AXIS)
        else:
            found.append(re.sub(r"[^A-Za-z0-9_?+*/()-]", "_", dim.replace(" ", "")) or OPEN_AXIS)
    return found


def without_signs(shapes: Mapping[str, Sequence[Dim]]) -> dict[str, list[Dim]]:
    """The shapes, with names instead of expressions of which a part is no axis of its own."""
    plain = {dim for dims in shapes.values() for dim in dims if isinstance(dim, str)}

    def settled(dim: Dim) -> Dim:
        if not isinstance(dim, str) or not set(dim) & set(SIGNS):
            return dim
        parts = re.findall(r"[A-Za-z_]\w*", dim)
        follows = bool(parts) and set(parts) <= plain and dim.count("/") == 2 * dim.count("//")
        return dim if follows else re.sub(r"\W", "_", dim)

    return {name: [settled(dim) for dim in dims] for name, dims in shapes.items()}


def with_batch(shapes: Mapping[str, Sequence[Dim]]) -> dict[str, list[Dim]]:
    """The shapes with their batch axis called so.

    It is the first with ``batch`` in its name; without one, the first axis where that is open and
    no other axis of an input that has one; where it has a size, an axis of the batch's name. Of
    several such names it is the one that every input has, if one is: steps come first then.
    """
    own = {name: _named_batch(dims) for name, dims in shapes.items()}
    others = {
        dim
        for name, dims in shapes.items()
        for place, dim in enumerate(dims)
        if own[name] is not None and place != own[name]
    } - {OPEN_AXIS}
    firsts = {dims[0] for dims in shapes.values() if dims and isinstance(dims[0], str)} - {
        OPEN_AXIS,
        *others,
    }
    named = [
        {dim for dim in dims if isinstance(dim, str)} - {OPEN_AXIS} for dims in shapes.values()
    ]
    common = firsts.intersection(*filter(None, named))
    if len(firsts) > 1 and len(common) == 1:
        others |= firsts - common
        firsts = common
    found = {}
    for name, dims in shapes.items():
        batch = own[name]
        if batch is None and dims and isinstance(dims[0], str) and dims[0] not in others:
            batch = 0
        if batch is None:
            batch = next((place for place, dim in enumerate(dims) if dim in firsts), None)
        found[name] = [BATCH if place == batch else dim for place, dim in enumerate(dims)]
    return found


def _named_batch(dims: Sequence[Dim]) -> int | None:
    """The first axis that a file calls a batch, if it calls one so."""
    names = ((place, dim) for place, dim in enumerate(dims) if isinstance(dim, str))
    return next(
        (n for n, dim in names if "batch" in dim.lower() and not set(dim) & set(SIGNS)), None
    )


def namings(shapes: Mapping[str, Sequence[Dim]]) -> Iterator[dict[str, Shape]]:
    """Candidate names of axes without one: each its own, one for each place, or the batch."""

    def named(label: Callable[[str, int, Sequence[Dim]], str]) -> dict[str, Shape]:
        return {
            name: tuple(
                label(name, axis, dims) if dim == OPEN_AXIS else dim
                for axis, dim in enumerate(dims)
            )
            for name, dims in shapes.items()
        }

    candidates = [
        named(lambda name, axis, dims: f"{name}_dim_{axis}"),
        named(lambda name, axis, dims: f"dim_{axis}"),
        named(lambda name, axis, dims: f"dim_{axis}" if BATCH in dims else BATCH),
    ]
    names = [
        n for dims in candidates[0].values() for n in dims if isinstance(n, str) and n != BATCH
    ]
    if len(names) > 1:  # names that are one size: an exporter that numbers its axes
        candidates.append(
            {
                name: tuple(
                    f"dim_{axis}" if isinstance(dim, str) and dim != BATCH else dim
                    for axis, dim in enumerate(dims)
                )
                for name, dims in shapes.items()
            }
        )
    candidates += _sums(candidates[0])
    yield from (
        candidate
        for place, candidate in enumerate(candidates)
        if candidate not in candidates[:place]
    )


def _sums(shapes: Mapping[str, Shape]) -> Iterator[dict[str, Shape]]:
    """The shapes with an axis that is as long as others together: a mask of past and new places.

    It is of an input of at most two axes, and one of the others, the past, of more.
    """
    flat, deep = (
        dict.fromkeys(
            dim
            for dims in shapes.values()
            for dim in dims
            if (len(dims) < 3) is wanted
            and isinstance(dim, str)
            and dim != BATCH
            and not set(dim) & set(SIGNS)
        )
        for wanted in (True, False)
    )
    for total in (name for name in flat if name not in deep):
        for past in deep:
            for other in [*(name for name in flat if name not in (total, past)), 1]:
                yield {
                    name: tuple(f"{past}+{other}" if dim == total else dim for dim in dims)
                    for name, dims in shapes.items()
                }


def accepted(
    specs: Sequence[TensorSpec],
    candidates: Sequence[Mapping[str, Shape]],
    run: FileRun,
    errors: Sequence[float] = (),
) -> InputSpecs:
    """The first naming and sizes that the file accepts at every corner, and where outputs move.

    Where no sizes make every output move between inputs, such as a count of frames that are longer
    than what is fed, the first that it accepts.

    Args:
        errors: what float32 may be off in each output, absolute; 0 where nothing is given.

    Raises:
        UsageError: it accepts none of them; the words of the first refusal.
    """
    first, still, patience, last = "", None, MOST_STILL, 0
    for naming, variants in itertools.islice(_attempts(specs, candidates), MOST_TRIALS):
        if still and (naming != last or patience < 1):
            return still
        last = naming
        for tried in variants:
            try:
                _refuse_corners(tried.inputs, tried.axes, run)
                moves = _moves(tried.inputs, tried.axes, run, errors)
            except Exception as error:  # noqa: BLE001 - whatever it is, a refusal
                first = first or " ".join(str(error).split())[:300]
                continue
            if moves:
                return tried
            still = still or tried
            patience -= 1
    if still:
        return still
    raise UsageError(
        f"the file refuses the inputs that it declares: {first}; say which sizes it takes: put it "
        "in a file for --models-from, as a function that returns pathlib.Path(FILE), with "
        'inputs=[TensorSpec(...), ...] and axes={"NAME": (LEAST, MOST, STEP)}'
    )


def _attempts(
    specs: Sequence[TensorSpec], candidates: Sequence[Mapping[str, Shape]]
) -> Iterator[tuple[int, list[InputSpecs]]]:
    """Names and sizes, the most general first: the number of a naming, and variants of a size."""
    for naming, (sizes, shapes) in enumerate(itertools.product((_ranges, _fixed), candidates)):
        inputs = with_lengths([replace(spec, shape=shapes[spec.name]) for spec in specs])
        for axes, fixed in sizes(_names(inputs)):
            notes = tuple(_notes(axes, fixed))
            sized = tuple(_with_sizes(spec, fixed) for spec in inputs)
            yield naming, [InputSpecs(one, axes, notes) for one in _variants(sized, axes)]


def with_lengths(inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The inputs; each ``Lengths`` without an axis is of the axis that it seems to count.

    That is the first open axis of the input whose name it bears (``waveforms_lens``), else of the
    first input that has one.
    """
    lengthy = {
        spec.name: dim
        for spec in inputs
        for dim in spec.shape[::-1]
        if isinstance(dim, str) and dim != BATCH and not set(dim) & set(SIGNS)
    }

    def settled(spec: TensorSpec) -> TensorSpec:
        if spec.domain != Lengths(UNKNOWN):
            return spec
        bearing = [dim for name, dim in lengthy.items() if spec.name.startswith(name)]
        axis = next(iter([*bearing, *lengthy.values()]), None)
        return replace(spec, domain=Integers(1, ASSUMED_BOUND) if axis is None else Lengths(axis))

    return tuple(settled(spec) for spec in inputs)


def _names(inputs: Sequence[TensorSpec]) -> list[str]:
    dims = [dim for spec in inputs for dim in spec.shape if isinstance(dim, str)]
    return [dim for dim in dict.fromkeys(dims) if dim != BATCH and not set(dim) & set(SIGNS)]


Sizes = Iterator[tuple[Axes, dict[str, int]]]


def _ranges(names: Sequence[str]) -> Sizes:
    """The same range for every axis, the most general first."""
    for one in RANGES if names else ():
        yield tuple((name, one) for name in names), {}
    if not names:
        yield (), {}


def _fixed(names: Sequence[str]) -> Sizes:
    """One axis of one size, and a range for the others."""
    for size, name in itertools.product(SIZES, names):
        rest = [other for other in names if other != name]
        for axes, _ in _ranges(rest):
            yield axes, {name: size}


def _with_sizes(spec: TensorSpec, fixed: Mapping[str, int]) -> TensorSpec:
    shape = tuple(fixed.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.shape)
    return replace(spec, shape=shape)


def _corners(axes: Axes) -> Iterator[dict[str, int]]:
    """Sizes by axis: all least, next to it, most and between, each least with the others most.

    What halves its images takes even sizes alone, and those next to the least are odd.
    """
    for extent in (0.0, 1.0, 0.5):
        yield {name: axis.size(extent) for name, axis in axes}
    if axes:
        yield {name: min(axis.low + axis.step, axis.high) for name, axis in axes}
    for chosen, _ in axes if len(axes) > 1 else ():
        yield {name: axis.size(0.0 if name == chosen else 1.0) for name, axis in axes}
        yield {name: axis.size(0.3 if name == chosen else 0.7) for name, axis in axes}


def _refuse_corners(inputs: Sequence[TensorSpec], axes: Axes, run: FileRun) -> None:
    """Do nothing where the file accepts inputs of these specs at the ends of every axis.

    Raises:
        UsageError: an output is empty.
        Exception: whatever ONNX Runtime raises.
    """
    for place, sizes in enumerate(_corners(axes)):
        answers = run(inputs_of(inputs, 3 - place % 2, sizes))
        if any(isinstance(one, np.ndarray) and not one.size for one in answers):
            raise UsageError(f"an output is empty at sizes {sizes}")


def _variants(inputs: tuple[TensorSpec, ...], axes: Axes) -> Iterator[tuple[TensorSpec, ...]]:
    """The inputs, then no length below the smallest size of its axis, then large numbers too."""
    yield inputs
    least = {name: axis.low for name, axis in axes}

    def raised(spec: TensorSpec) -> TensorSpec:
        if not isinstance(spec.domain, Lengths):
            return spec
        return replace(spec, domain=replace(spec.domain, low=least.get(spec.domain.axis, 1)))

    longer = tuple(raised(spec) for spec in inputs)
    if longer != inputs:
        yield longer
    louder = tuple(replace(spec, domain=LOUD) if spec.real else spec for spec in longer)
    if louder != longer:
        yield louder


@cache
def _liveness() -> Mapping[str, float]:
    """The shipped rule of liveness."""
    return load_tolerances(TOLERANCES).defaults["liveness"]


def _moves(inputs: Sequence[TensorSpec], axes: Axes, run: FileRun, errors: Sequence[float]) -> bool:
    """Whether outputs are finite at the smallest and largest sizes, and all move at the largest."""
    rule = _liveness()
    for extent, share in ((0.0, 0.0), (1.0, 1.0 - rule["dead_share"])):
        sizes = {name: axis.size(extent) for name, axis in axes}
        draws = [run(inputs_of(inputs, 3, sizes, seed, normal=True)) for seed in range(DRAWS)]
        for place, answers in enumerate(zip(*draws, strict=True)):
            least = rule["minimum"] * errors[place] if errors else 0.0
            if not _alive(answers, share, least):
                return False
    return True


def _alive(answers: Sequence[Any], share: float, least: float) -> bool:
    """Whether a ``share`` of an output's elements moves by more than ``least`` between answers."""
    arrays = [array for array in answers if isinstance(array, np.ndarray)]
    if any(a.dtype.kind == "f" and not np.isfinite(a).all() for a in arrays):
        return False
    if len(arrays) != len(answers) or len({array.shape for array in arrays}) != 1:
        return True  # sequences, or sizes that the values decide
    if arrays[0].dtype.kind == "f":
        moved = np.any([np.abs(array - arrays[0]) > least for array in arrays[1:]], axis=0)
    else:
        moved = np.any([array != arrays[0] for array in arrays[1:]], axis=0)
    return bool(np.mean(moved) >= share)


def inputs_of(
    inputs: Sequence[TensorSpec],
    batch: int,
    sizes: Mapping[str, int],
    seed: int = 0,
    *,
    normal: bool = False,
) -> Inputs:
    """Uniform or normal numbers within the inputs' domains, in the file's own layout."""
    rng, input_set = np.random.default_rng(seed), Inputs()
    kind = "normal" if normal else "uniform"
    draw = rng.standard_normal if normal else rng.random
    for spec in inputs:
        shape = spec.concrete(batch, sizes)
        drawn = spec.domain.draw(Draw(kind, draw(shape), rng, sizes, input_set))
        input_set[spec.name] = np.asarray(drawn).astype(spec.held)
    return input_set


def _notes(axes: Axes, fixed: Mapping[str, int]) -> Iterator[str]:
    for name, size in fixed.items():
        yield f"axis '{name}' is fed at size {size} alone: the file refuses others that were tried"
    for name, axis in axes:
        if axis != Axis():
            step = f" in steps of {axis.step}" if axis.step > 1 else ""
            yield (
                f"axis '{name}' is fed from {axis.low} to {axis.high}{step}: "
                "the file refuses smaller or other sizes, or its outputs do not move there"
            )
