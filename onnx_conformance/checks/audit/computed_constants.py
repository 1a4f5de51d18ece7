"""Constants that native computes from its weights alone, and that an exporter folded into the file.

A standardised kernel, a product of two factors, a table of positions: the file holds the result in
place of the parameters. Native's own result is known
(:mod:`onnx_conformance.core.native_constants`), so
every element is compared. A constant accounts for its parameters only if nothing else of them meets
an input.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from onnx_conformance.checks.audit.deviation import measure_terms
from onnx_conformance.checks.audit.findings import Finding
from onnx_conformance.checks.audit.formats import Format, Formats
from onnx_conformance.checks.audit.layouts import Layout, layouts, take
from onnx_conformance.checks.audit.matches import WeightMatch
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.native_constants import Constant

# Resemblance, not verdicts: how alike two tensors must be to be taken for one another.
_NEAR = 2.0**-6
_MOST = 0.6
_FEW = 4
_HALF = 0.5  # of the elements of a damaged one are as they should be, or more
_SAMPLES = 64


class ConstantKernel(NamedTuple):
    """A constant's values, and how far float32 may be off in each."""

    values: Array
    noise: Array

    @property
    def size(self) -> int:
        """How many elements it has."""
        return int(self.values.size)


class ComputedConstants:
    """The constants of a native model and where a file holds them."""

    def __init__(self, constants: Iterable[Constant], natives: Iterable[str]) -> None:
        self._known = {constant.name: constant for constant in constants}
        self._natives = frozenset(natives)
        self._held: dict[str, WeightMatch] = {}
        self._damaged: dict[str, WeightMatch] = {}
        self._origins: dict[str, set[str]] = {}
        self.initializers: set[str] = set()  # those that hold one, whole or damaged
        self._by_size: dict[int, list[Constant]] = defaultdict(list)
        for constant in self._known.values():
            if constant.array is not None and constant.array.size:
                self._by_size[constant.array.size].append(constant)

    def find(self, stored: Mapping[str, Array], explained: Iterable[str], formats: Formats) -> None:
        """Look for the constants among a file's initialisers.

        Args:
            explained: initialisers that hold copies: they may hold a constant too, and are not
                taken for a damaged one.
        """
        copies = frozenset(explained)
        for name, found in stored.items():
            if found.size not in self._by_size or not np.issubdtype(found.dtype, np.floating):
                continue
            form, best = formats.of(name, found), None
            for constant in self._by_size[found.size]:
                held = _compare(name, found, constant, form)
                if held is None:
                    continue
                if not held.mismatched:
                    self._held.setdefault(constant.name, held)
                    self.initializers.add(name)
                elif not constant.used or held.mismatched > _HALF * found.size:
                    continue  # what errs all over is another tensor, or shows on every input
                elif best is None or held.mismatched < best[1].mismatched:
                    best = constant, held
            if best is not None and name not in self.initializers and name not in copies:
                self._damaged[best[0].name] = best[1]
                self.initializers.add(name)

    def kernels(self) -> dict[str, ConstantKernel]:
        """The constants that meet an input and were not found, of two axes and more."""
        return {
            name: ConstantKernel(known.array, known.noise.reshape(known.array.shape))
            for name, known in self._known.items()
            if known.used
            and known.array is not None
            and known.array.ndim > 1
            and name not in self._held
            and name not in self._damaged
        }

    def folded(self, match: WeightMatch) -> None:
        """Note a constant that was found as a kernel times a BatchNorm's factor."""
        (self._damaged if match.mismatched else self._held)[match.natives[0]] = match

    def damaged(self) -> Iterator[tuple[str, Finding]]:
        """The native tensors of what stands damaged in the file, with what is wrong."""
        for name, held in self._damaged.items():
            array = self._known[name].array
            assert array is not None
            note = f"in what native computes of it ({name})"
            for native in sorted(self._sources(name)):
                yield native, replace(held.finding(native, array), status="differs", note=note)

    def finding(self, native: str, array: Array, present: frozenset[str]) -> Finding | None:
        """The finding ``computed``, where the file holds all that native makes of a tensor alone.

        Args:
            present: the native tensors that the file holds.
        """
        if native in self._known and self._known[native].used:
            return None
        wanted = [n for n, c in self._known.items() if c.used and native in self._sources(n)]
        memo: dict[str, bool] = {}
        if not wanted or not all(self._covered(name, present, memo) for name in wanted):
            return None
        held = [self._held[name] for name in (*wanted, *self._known) if name in self._held]
        holder = next((one for n, one in self._held.items() if native in self._sources(n)), None)
        if not held:
            return None
        note = f"computed into {wanted[0]}" + (f" and {len(wanted) - 1} more" * (len(wanted) > 1))
        where = holder.initializer if holder else held[0].initializer
        return Finding(native, "computed", where, array.size, note=note)

    def _sources(self, name: str) -> set[str]:
        """The native tensors that a constant was computed of."""
        if name in self._origins:
            return self._origins[name]
        found, seen, waiting = set(), set(), [name]
        while waiting:
            one = waiting.pop()
            if one in self._natives:
                found.add(one)
            if one in seen or one not in self._known:
                continue
            seen.add(one)
            waiting += self._known[one].operands
        self._origins[name] = found
        return found

    def _covered(self, name: str, present: frozenset[str], memo: dict[str, bool]) -> bool:
        """Whether the file holds a constant, or all that it is computed of."""
        if name in self._natives:
            return name in present
        if name not in memo:
            memo[name] = False  # until it is shown
            memo[name] = self._is_covered(name, present, memo)
        return memo[name]

    def _is_covered(self, name: str, present: frozenset[str], memo: dict[str, bool]) -> bool:
        if name in self._held:
            return True
        known = self._known.get(name)
        if known is None:
            return False
        whole = [t for t in known.copies if self._sources(t) >= self._sources(name)]
        if any(self._covered(one, present, memo) for one in whole):
            return True
        return all(self._covered(one, present, memo) for one in known.operands)


def _compare(name: str, found: Array, constant: Constant, form: Format) -> WeightMatch | None:
    """How an initialiser holds a constant in the layout that fits best; None if it does not."""
    array = constant.array
    assert array is not None
    weight_tolerance = form.weight_tolerance(array.dtype)
    best: WeightMatch | None = None
    for layout in layouts(array.shape, found.shape):
        if not _resembles(array, layout, found, form):
            continue
        noise = constant.noise.reshape(array.shape).transpose(layout).reshape(found.shape)
        expected = array.transpose(layout).reshape(-1).astype(np.float64)
        measure = measure_terms(
            expected,
            np.abs(expected),
            found,
            replace(weight_tolerance, tiny=np.maximum(weight_tolerance.tiny, noise)),
            weight_tolerance.fold,
        )
        held = WeightMatch(name, (constant.name,), "computed", "copy", layout, measure=measure)
        if not held.mismatched:
            return held
        few = array.size < _FEW or np.all(array == array.flat[0])
        if not few and (best is None or held.mismatched < best.mismatched):
            best = held
    return best


def _resembles(array: Array, layout: Layout, found: Array, form: Format) -> bool:
    """Whether most of a sample is near."""
    places = np.unique(np.linspace(0, found.size - 1, _SAMPLES).astype(np.intp))
    ours = take(array, layout, places).astype(np.float64)
    theirs = found.reshape(-1)[places].astype(np.float64)
    step = 0.0 if form.step is None else form.step.reshape(-1)[places]
    with np.errstate(invalid="ignore"):
        near = np.abs(theirs - ours) <= _NEAR * np.abs(ours) + step
    return bool(np.mean(near) >= _MOST)
