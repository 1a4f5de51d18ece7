"""Specs of example arrays: dtypes, ranges, and, of examples of several sizes, what varies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.domains import Choice, Domain, Integers, Mask, Real
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.plain_outputs import as_text, dtype_of
from onnx_conformance.core.size_expressions import evaluate
from onnx_conformance.core.spec import Axes, Axis, InputSpecs, TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.built_model import BuiltModel
from onnx_conformance.workers.user_model.fixed_batch import Place, are_samples
from onnx_conformance.workers.user_model.infer_spec import BATCH, LONGEST_DIFFERENCE

PAST = re.compile(r"past(_key_values)?\.\d+\.")  # of a layer's keys and values
Sizes = tuple[int, ...]  # of one axis, in each of the examples


def specs_of_examples(name: str, examples: Any, built: BuiltModel) -> InputSpecs:
    """Specs of examples.

    Of one example axis 0 is the batch and other axes keep their size. Of several, axes whose size
    differs between them vary, and those of equal sizes are one axis. The batch is then the first
    axis along which the model takes samples: one that varies, or else axis 0 of all inputs. An
    input without it is shared by the samples. Whole numbers get the range that the examples span.

    Args:
        name: of the model.
        examples: arrays by name or in the order of the model's inputs; or a list of such.

    Raises:
        UsageError: the examples differ in their inputs, ranks or dtypes.
    """
    sets = [_labelled(one, built.parameters) for one in _several(examples)]
    _refuse_unlike(name, sets)
    firsts = {(label, 0) for label, array in sets[0].items() if array.ndim}
    labels, axes = (dict.fromkeys(firsts, BATCH), ()) if len(sets) == 1 else _named(sets, built)
    return InputSpecs(tuple(_spec_of(label, sets, labels) for label in sets[0]), axes)


def _spec_of(label: str, sets: Sequence[Arrays], labels: Mapping[Place, str]) -> TensorSpec:
    array = sets[0][label]
    shape = [labels.get((label, axis), size) for axis, size in enumerate(array.shape)]
    values = np.concatenate([one[label].ravel() for one in sets])
    domain = _mask_in(label, [one[label] for one in sets]) or _domain_of(label, values)
    return TensorSpec(label, tuple(shape), dtype_of(array), domain=domain)


def _mask_in(name: str, arrays: Sequence[NDArray[Any]]) -> Mask | None:
    """The mask that arrays of that name are: each row ones and then zeros, or the reverse."""
    masks = [array.astype(int) for array in arrays if array.dtype.kind in "bi" and array.ndim == 2]
    if "mask" not in name or len(masks) < len(arrays):
        return None
    if not all(np.isin(mask, (0, 1)).all() for mask in masks):
        return None
    steps = [np.diff(mask, axis=1) for mask in masks]
    if all((step <= 0).all() for step in steps):
        return Mask()
    return Mask(side="left") if all((step >= 0).all() for step in steps) else None


def _several(examples: Any) -> list[Any]:
    """The examples: a list of dicts, or of tuples or lists of arrays; else one example alone."""
    if not isinstance(examples, (list, tuple)) or not examples:
        return [examples]
    sets = all(
        isinstance(one, Mapping)
        or (isinstance(one, (list, tuple)) and all(hasattr(part, "shape") for part in one))
        for one in examples
    )
    return list(examples) if sets else [examples]


def _labelled(example: Any, names: Sequence[str]) -> Arrays:
    """The arrays of one example by name; those that nobody names are called ``input_N``."""
    if isinstance(example, Mapping):
        return {str(label): _as_array(value) for label, value in example.items()}
    arrays = list(example) if isinstance(example, (tuple, list)) else [example]
    labels = [*names, *(f"input_{place}" for place in range(len(names), len(arrays)))]
    return {label: _as_array(value) for label, value in zip(labels, arrays, strict=False)}


def _as_array(value: Any) -> NDArray[Any]:
    return as_text(np.asarray(value.detach().cpu() if hasattr(value, "detach") else value))


def _refuse_unlike(name: str, sets: Sequence[Arrays]) -> None:
    faces = [{label: (a.ndim, dtype_of(a)) for label, a in one.items()} for one in sets]
    for face in faces[1:]:
        if face.keys() != faces[0].keys():
            raise UsageError(
                f"model '{name}': its examples have inputs {sorted(faces[0])} and {sorted(face)}; "
                "give every example the same ones"
            )
        for label, found in face.items():
            if found != faces[0][label]:
                raise UsageError(
                    f"model '{name}': input '{label}' has rank and dtype {faces[0][label]} in one "
                    f"example and {found} in another; give one of both"
                )


def _domain_of(name: str, values: NDArray[Any]) -> Domain:
    if values.dtype == bool:
        return Choice((0, 1))
    if np.issubdtype(values.dtype, np.floating):
        return Real()
    if values.dtype.kind == "U" and values.size:
        return Choice(tuple(map(str, np.unique(values))))
    if not np.issubdtype(values.dtype, np.integer) or not values.size:
        raise UsageError(f"example '{name}' has dtype {values.dtype}, which no tensor has")
    if values.dtype == np.uint8:
        return Integers(0, 256)
    return Integers(int(values.min()), int(values.max()) + 1)


def _named(sets: Sequence[Arrays], built: BuiltModel) -> tuple[dict[Place, str], Axes]:
    """Names of the axes that vary, the batch among them, and the ranges of the others."""
    places = [(name, axis) for name, array in sets[0].items() for axis in range(array.ndim)]
    sizes_at = {place: tuple(one[place[0]].shape[place[1]] for one in sets) for place in places}
    varying: dict[Sizes, list[Place]] = {}  # the axes that have these sizes in the examples
    for place, sizes in sizes_at.items():
        if len(set(sizes)) > 1:
            varying.setdefault(sizes, []).append(place)
    labels: dict[Place, str] = {}
    firsts = [place for place in places if place[1] == 0]
    for chosen in (*varying.values(), firsts):
        if len({sizes_at[place] for place in chosen}) == 1 and _are_samples(chosen, sets[0], built):
            labels = dict.fromkeys(chosen, BATCH)
            break
    others = {sizes: axes for sizes, axes in varying.items() if axes[0] not in labels}
    sums = {_added(one, other) for one, other in combinations(others, 2)}
    names: dict[Sizes, str] = {}
    for sizes in sorted(others, key=lambda sizes: sizes in sums):  # what follows comes last
        names[sizes] = _follows(sizes, names) or _axis_name(*others[sizes][0])
        labels |= dict.fromkeys(others[sizes], names[sizes])
    ranges = [
        (name, _range(name, sizes, labels, sets, built))
        for sizes, name in names.items()
        if name.isidentifier()
    ]
    return labels, tuple(ranges)


def _axis_name(label: str, axis: int) -> str:
    """What an axis of an input is called; that of a cache by its usual name."""
    if PAST.match(label):
        return "past"
    plain = re.sub(r"\W+", "_", label)
    return f"{plain}_dim_{axis}"


def _added(one: Sizes, other: Sizes) -> Sizes:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _follows(one: Sizes, known: Mapping[Sizes, str]) -> str:
    """The size as an expression of axes that are known, such as ``past+1``; else empty."""
    plain = [pair for pair in known.items() if pair[1].isidentifier()]
    for (other, label), (more, name) in combinations(plain, 2):
        if one == _added(other, more) and len(one) > 2:  # two sizes may agree by chance
            return f"{label}+{name}"
    for other, label in known.items():
        if label.isidentifier():
            further = (
                LONGEST_DIFFERENCE if len(one) > 2 else 1
            )  # two sizes alone may differ alike by chance
            for expression in _expressions(one[0], other[0], label, further):
                if one == tuple(evaluate(expression, {label: size}) for size in other):
                    return expression
    return ""


def _expressions(size: int, other: int, label: str, further: int) -> list[str]:
    """How ``size`` may follow from ``other``, which is called ``label``."""
    found = [f"{size // other}*{label}"] if size >= 2 * other > 0 else []
    found += [f"{label}//{other // size}"] if other >= 2 * size > 0 else []
    found += [f"{label}{size - other:+d}"] if 0 < abs(size - other) <= further else []
    return found


def _range(
    name: str, sizes: Sizes, labels: Mapping[Place, str], sets: Sequence[Arrays], built: BuiltModel
) -> Axis:
    """The sizes that the examples span.

    Every one where the model takes the one above the least, else those in the examples' steps.
    """
    low, high = min(sizes), max(sizes)
    at_low = sizes.index(low)
    grown = dict(sets[at_low])
    others = {
        other: sets[at_low][place[0]].shape[place[1]]
        for place, other in labels.items()
        if other.isidentifier()
    }
    for (label, axis), expression in labels.items():
        wanted = evaluate(expression, {**others, name: low + 1})
        before = grown[label].shape[axis]
        if wanted is not None and wanted > before:
            width = [
                (0, wanted - before if place == axis else 0) for place in range(grown[label].ndim)
            ]
            grown[label] = np.pad(grown[label], width, mode="edge" if before else "constant")
    try:
        built.run(Inputs(grown))
    except Exception:  # noqa: BLE001 - whatever a framework raises is its refusal
        return Axis(low, high, math.gcd(*(size - low for size in sizes if size > low)))
    return Axis(low, high)


def _are_samples(places: Sequence[Place], example: Arrays, built: BuiltModel) -> bool:
    """Whether the model takes one sample more on these axes, and each by itself."""
    rng, count = np.random.default_rng(0), example[places[0][0]].shape[places[0][1]] + 1
    base, other = dict(example), dict(example)
    for label, axis in places:
        shape = [count if n == axis else size for n, size in enumerate(example[label].shape)]
        base[label], other[label] = (_alike(example[label], shape, rng) for _ in range(2))
    try:
        return are_samples(built, base, other, places)
    except Exception:  # noqa: BLE001 - whatever a framework raises is its refusal
        return False


def _alike(array: NDArray[Any], shape: Sequence[int], rng: np.random.Generator) -> NDArray[Any]:
    """Random numbers of the array's dtype; whole numbers in its range."""
    if np.issubdtype(array.dtype, np.floating):
        return rng.standard_normal(shape).astype(array.dtype)
    if array.dtype.kind == "U":
        return rng.choice(array.ravel(), shape)
    return rng.integers(array.min(), int(array.max()) + 1, shape).astype(array.dtype)
