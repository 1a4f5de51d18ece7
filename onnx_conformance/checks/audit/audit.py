"""The audit itself: explain every initialiser, then report on every native tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnx_conformance.checks.audit.computed_constants import ComputedConstants
from onnx_conformance.checks.audit.findings import FAILING, LEFT_TO_INPUTS, AuditReport, Finding
from onnx_conformance.checks.audit.formats import EXACT, Formats, Rounding
from onnx_conformance.checks.audit.graph_names import NativeNames, SwapDetector
from onnx_conformance.checks.audit.layouts import is_gathered
from onnx_conformance.checks.audit.matcher import WeightMatcher, indexed_of, is_float
from onnx_conformance.checks.audit.matches import WeightMatch, folds_of
from onnx_conformance.checks.audit.rearranged import find_parts, find_rearranged
from onnx_conformance.checks.audit.unexplained import NOTHING_RESEMBLES, finding_beside
from onnx_conformance.checks.audit.zero_factors import ZeroFactors
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.graph_weights import Use
from onnx_conformance.core.native_constants import Constant
from onnx_conformance.core.native_request import BatchNormRecord

_BEST_FIRST = ("identical", "folded", "rescaled", "rearranged")


def audit_initializers(
    weights: Mapping[str, Array],
    batch_norms: Iterable[BatchNormRecord],
    initializers: Mapping[str, Array],
    *,
    fold_ulp: float,
    rounding: Rounding = EXACT,
    strict: bool = False,
    uses: Mapping[str, Use] | None = None,
    unused: Collection[str] = (),
    constants: Iterable[Constant] = (),
) -> AuditReport:
    """Account for every native tensor.

    Args:
        weights: the native tensors by name.
        batch_norms: which of them belong to a BatchNorm. A gamma or beta that is not among
            the weights counts as one or zero.
        initializers: the artifact's, from ``collect_initializers``.
        fold_ulp: how far a folded value may be from the fold computed in float64, in units of
            the initialiser's epsilon times the magnitude of the terms it is made of.
        rounding: what the file's class of precision may do to a weight.
        strict: inputs are judged too coarsely to see a weight that is a little off, so what is left
            to them (``rescaled``, ``absorbed``, ``rearranged`` in any order) fails.
        uses: from ``collect_uses``; with them, tensors of equal shape that were swapped are
            noticed where the graph's names or operators tell.
        unused: native tensors that are known not to reach the outputs (an auxiliary head that
            only training uses); they may be absent.
        constants: what native computes from its tensors alone; a file may hold that instead.
    """
    folds, formats = folds_of(weights, batch_norms), Formats(fold_ulp, rounding)
    names, known_uses = NativeNames(weights), uses or {}
    computed = ComputedConstants(constants, weights)
    matcher = WeightMatcher(weights, folds, initializers, formats, computed)
    matcher.match_all(names, known_uses)
    swaps = SwapDetector(initializers, matcher.matches, names, known_uses)
    by_native = matcher.by_native()
    absent = _AbsentTensors(weights, matcher, swaps, unused, by_native, strict=strict)
    damaged = dict(computed.damaged())
    findings = [
        damaged[native]
        if native in damaged
        else _present(native, array, by_native[native], swaps, strict=strict)
        if native in by_native
        else absent.finding(native, array)
        for native, array in weights.items()
    ]
    missing = {f.native: weights[f.native] for f in findings if f.status == "missing"}
    if missing:
        sought = _sought(missing, matcher, known_uses, strict=strict)
        findings = [sought.get(finding.native, finding) for finding in findings]
    unit = "ulp or steps of eight bits" if rounding.steps else AuditReport.unit
    return AuditReport(tuple(findings), unit, tuple(name for name, _ in matcher.unexplained()))


def _sought(
    missing: Mapping[str, Array],
    matcher: WeightMatcher,
    uses: Mapping[str, Use],
    *,
    strict: bool,
) -> dict[str, Finding]:
    """The findings on missing tensors, sought among the initialisers without explanation."""
    leftovers, folds, formats = matcher.unexplained(), matcher.folds, matcher.formats
    if strict:
        elsewhere = find_parts(missing, leftovers, formats)
    else:
        elsewhere = find_rearranged(missing, folds, leftovers, formats)
    taken = {name for names in elsewhere.values() for name in names}
    absorbers = {} if strict else _absorbers(matcher, taken)
    sizes = {name: array.size for name, array in leftovers}
    disordered = {
        names
        for native, names in elsewhere.items()
        if indexed_of(names[0], uses) and sizes[names[0]] == missing[native].size
    }
    unclaimed = [(name, array) for name, array in leftovers if name not in taken]
    return {
        native: _excused(native, array, elsewhere, absorbers, disordered)
        or finding_beside(native, array, unclaimed, folds, formats)
        for native, array in missing.items()
    }


def _absorbers(matcher: WeightMatcher, taken: Collection[str]) -> dict[int, str]:
    """What vectors of each size may have gone into: leftovers, and kernels that were rescaled.

    Args:
        taken: initialisers whose values are known to be those of other tensors.
    """
    found = {array.size: name for name, array in matcher.unexplained() if name not in taken}
    for matches in matcher.matches.values():
        for match in matches:
            if match.status == "rescaled" and match.measure is not None:
                found |= dict.fromkeys(
                    matcher.initializers[match.initializer].shape, match.initializer
                )
    return found


def _excused(
    native: str,
    array: Array,
    elsewhere: Mapping[str, tuple[str, ...]],
    absorbers: Mapping[int, str],
    disordered: Collection[tuple[str, ...]],
) -> Finding | None:
    """The finding on a tensor whose values stand elsewhere or that went into something else."""
    names = elsewhere.get(native, ())
    if names in disordered:
        note = "its values are in another order, and the graph reads them by index"
        return Finding(native, "differs", names[0], 0, note=note)
    if names:
        return Finding(native, "rearranged", names[0], array.size)
    if array.size == max(array.shape, default=1) and array.size in absorbers:
        note = "no initialiser resembles it, but one of its size has no other explanation"
        return Finding(native, "absorbed", absorbers[array.size], 0, note=note)
    return None


def _present(
    native: str, array: Array, matches: Sequence[WeightMatch], swaps: SwapDetector, *, strict: bool
) -> Finding:
    """The finding on a tensor that initialisers hold: one damaged copy among good ones fails."""
    left = [match for match in matches if strict and match.status in LEFT_TO_INPUTS]
    if left:
        note = f"{left[0].status}, which inputs cannot judge at this precision"
        return replace(left[0].finding(native, array), status="differs", note=note)
    damaged = [match for match in matches if match.status in FAILING]
    if damaged:
        return max(damaged, key=lambda match: match.mismatched).finding(native, array)
    best = min(matches, key=lambda match: _BEST_FIRST.index(match.status)).finding(native, array)
    misplaced = swaps.misplaced(native, array.size, matches)
    return replace(best, status="differs", note=misplaced) if misplaced else best


class _AbsentTensors:
    """What became of tensors that no initialiser holds as such.

    Args:
        weights: the native tensors.
        unused: native tensors that are known not to reach the outputs.
        present: those that initialisers hold.
        strict: whether inputs judge weights too coarsely.
    """

    def __init__(
        self,
        weights: Mapping[str, Array],
        matcher: WeightMatcher,
        swaps: SwapDetector,
        unused: Collection[str],
        present: Collection[str],
        *,
        strict: bool,
    ) -> None:
        self._strict = strict
        self._matcher = matcher
        self._formats = matcher.formats
        self._leftovers = matcher.unexplained()
        self._swaps = swaps
        self._unused = unused
        self._scalars = [
            (name, found)
            for name, found in matcher.initializers.items()
            if found.size == 1 and is_float(found)
        ]
        self._gathered: list[Array] = []
        self._present = frozenset(present)
        sizes = {found.size for _, found in self._leftovers}
        self._zero_factors = ZeroFactors(weights, matcher.folds, swaps, present, sizes)

    def finding(self, native: str, array: Array) -> Finding:
        """Taken up by a kernel or a gather, dropped for a good reason, or missing."""
        for index, fold in enumerate(self._matcher.folds):
            kernels = self._swaps.kernels_of(index) if native in fold.scale else []
            if kernels:
                note = f"in kernel '{kernels[0].natives[0]}'"
                return Finding(native, "folded", kernels[0].initializer, array.size, note=note)
        known = self._matcher.computed.finding(native, array, self._present)
        if known is not None:
            return known
        for name, found in self._leftovers:
            form = self._formats.of(name, found)
            held = form.settled(form.held(array))
            if is_float(array) and array.size and is_gathered(held, form.settled(found)):
                self._gathered.append(found)
                return Finding(native, "gathered", name, array.size, note="entries repeated")
        reason = "unused" if native in self._unused else self._dispensable(array)
        reason = reason or self._zero_factors.why_absent(native, array)
        if reason is None:
            return Finding(native, "missing", None, 0, note=NOTHING_RESEMBLES)
        return Finding(native, "dropped", None, 0, note=reason)

    def _dispensable(self, array: Array) -> str | None:
        """Why a tensor's absence does not matter; None if it may."""
        if array.size == 0:
            return "it has no elements"
        if not is_float(array):
            return self._dispensable_integers(array)
        value = array.flat[0]
        # Among leftovers of its size the tensor may well be, damaged beyond recognition.
        if not np.all(array == value) or any(f.size == array.size for _, f in self._leftovers):
            return None
        if array.size == 1 and not self._strict:  # such as an epsilon that became an attribute
            return f"it is one number, {value:g}, which inputs judge"
        if value in (0, 1):
            return f"all elements are {value:g}, which changes nothing when added or multiplied"
        in_scalar = any(
            self._formats.of(name, found).held(array).flat[0] == found.flat[0]
            for name, found in self._scalars
        )
        return f"all elements are {value:g}, kept in the file as a scalar" if in_scalar else None

    def _dispensable_integers(self, array: Array) -> str | None:
        if array.size == 1:
            return "an integer counter"
        if any(found.size % array.size == 0 for found in self._gathered):
            return "the index of a table that was gathered already"
        return None
