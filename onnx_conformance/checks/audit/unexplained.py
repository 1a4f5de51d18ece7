"""Initialisers without a match, beside native tensors that nothing in the file resembles.

An exporter may have merged such a tensor into another by arithmetic that is not recomputed here;
then inputs can judge it. They cannot judge a copy that was moved and damaged in a few elements,
because one wrong sign among millions hardly changes an output. So an initialiser that still
resembles a tensor, or has its name, counts as a damaged copy of it.

Constants that no output depends on may hold in one piece what live ones hold in several, too small
to be known: they tell what the pieces are, provided that all of them agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnx_conformance.checks.audit.deviation import Float64
from onnx_conformance.checks.audit.findings import Finding
from onnx_conformance.checks.audit.formats import Format, Formats
from onnx_conformance.checks.audit.graph_names import components
from onnx_conformance.checks.audit.layouts import bits
from onnx_conformance.checks.audit.matches import Fold
from onnx_conformance.checks.audit.rearranged import Expectation, expectations
from onnx_conformance.core.arrays import Array

# Resemblance, not verdicts.
_HALF = 0.5  # of the values of one tensor that stand in the other, bit by bit
_BY_CHANCE = 0.6  # more than this, and values of that tensor are dense: a match says nothing
_FEW = 8  # values that tell
_SAMPLE = 256
_APART = 1 + 2.0**-11  # further than any rounding, nearer than neighbours of sparse values
_SHOWN = 3

NOTHING_RESEMBLES = "no initialiser resembles it"


def finding_beside(
    native: str,
    array: Array,
    unexplained: Sequence[tuple[str, Array]],
    folds: Sequence[Fold],
    formats: Formats,
) -> Finding:
    """The finding on a missing tensor: a damaged copy of it, untraced or missing.

    Args:
        unexplained: the initialisers that nothing explains.
    """
    missing = Finding(native, "missing", None, 0, note=NOTHING_RESEMBLES)
    leftovers = [(name, found) for name, found in unexplained if _could_hold(found)]
    if not leftovers:
        return missing
    for name, found in leftovers:
        if components(name) == components(native) and found.size == array.size:
            same = "name and shape" if found.shape == array.shape else "name and size"
            note = f"same {same}, other values (another training or seed?)"
            return replace(missing, initializer=name, note=note)
        if _holds_all(array, found, formats.of(name, found)):
            note = f"all of its values stand in '{name}', which holds others, too"
            return replace(missing, status="untraced", initializer=name, note=note)
        if _is_moved(native, array, found, folds, formats.of(name, found)):
            note = "it holds most of the tensor's values, but not all"
            return Finding(native, "differs", name, array.size, note=note)
    shown = ", ".join(f"'{name}'" for name, _ in leftovers[:_SHOWN])
    more = f" and {len(leftovers) - _SHOWN} more" * (len(leftovers) > _SHOWN)
    note = f"{NOTHING_RESEMBLES}; {shown}{more} have no explanation"
    return replace(missing, status="untraced", note=note)


def _holds_all(array: Array, found: Array, form: Format) -> bool:
    """Whether the native tensor is a part of what was found, such as the rows of a longer table."""
    held = form.held(array)
    if found.size <= array.size or array.size < _FEW or held.dtype != found.dtype:
        return False
    return bool(np.isin(_values(held), _values(found)).all())


def _is_moved(native: str, array: Array, found: Array, folds: Sequence[Fold], form: Format) -> bool:
    """Whether values of the native tensor, or of a fold of it, make up what was found."""
    if array.size < _FEW or array.dtype.kind != "f":
        return False
    held = form.held(array)
    if held.dtype == found.dtype:
        ours, theirs = (_values(each) for each in (held, found))
        shared = np.intersect1d(ours, theirs, assume_unique=True).size
        if shared >= max(_HALF * min(ours.size, theirs.size), _FEW / 2):
            return True
    flat = found.reshape(-1).astype(np.float64)
    sample = flat[np.unique(np.linspace(0, flat.size - 1, _SAMPLE).astype(np.intp))]
    sample = sample[sample != 0]
    if sample.size < _FEW:
        return False
    expected = expectations({native: array}, folds, form)
    return any(_identifies(one, sample) for one in expected)


def _identifies(one: Expectation, sample: Float64) -> bool:
    """Whether the sample is made of these values, and its neighbours are not."""
    if one.values.size < _FEW or not one.knows(sample):
        return False
    return one.share(sample * _APART) <= _BY_CHANCE


def _could_hold(array: Array) -> bool:
    """Whether trained numbers may be in it: a mask or a fill has one or two."""
    return array.size >= 2 and np.unique(array.reshape(-1)[:4096]).size > 2


# -- dead constants --------------------------------------------------------------------------------


def agreeing(
    dead: Mapping[str, Array], live: Mapping[str, Array], unexplained: Collection[str]
) -> dict[str, Array]:
    """The dead constants all of whose values stand in live ones that hold nothing else.

    Args:
        unexplained: those of the live ones that resemble no native tensor.
    """
    pieces = {name: _values(live[name]) for name in unexplained if live[name].size}
    wholes = {name: _values(array) for name, array in dead.items() if array.dtype.kind == "f"}
    while True:
        known = _union(wholes.values())
        sound = {n: v for n, v in pieces.items() if np.isin(v, known, assume_unique=True).all()}
        odd = _union(v for n, v in pieces.items() if n not in sound)
        held = _union(sound.values())
        kept = {
            name: values
            for name, values in wholes.items()
            if values.size
            and np.isin(values, held, assume_unique=True).all()
            and not np.isin(values, odd, assume_unique=True).any()
        }
        if len(kept) == len(wholes):
            return {name: dead[name] for name in kept}
        wholes = kept


def _values(array: Array) -> Array:
    """The bit patterns of what is not zero, each once."""
    return np.unique(bits(array[array != 0]))


def _union(values: Iterable[Array]) -> Array:
    parts = list(values)
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint32)
