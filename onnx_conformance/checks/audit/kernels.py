"""Convolution and Dense kernels: copied, or multiplied along the output channels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnx_conformance.checks.audit.deviation import Float64, Measure, deviations, measure_scaled
from onnx_conformance.checks.audit.findings import Status
from onnx_conformance.checks.audit.formats import Format, coarser_format, narrower_format
from onnx_conformance.checks.audit.layouts import Layout, Shape, align, layouts, take
from onnx_conformance.checks.audit.matches import Fold, Role, WeightMatch
from onnx_conformance.checks.audit.rearranged import permuted
from onnx_conformance.core.arrays import Array

# Resemblance, not verdicts: how alike two tensors must be to be taken for one another. What is
# alike is then compared in full.
_NEAR = 2.0**-6  # relative; wider than bfloat16's rounding, a wrong epsilon or a stale step
_MOST = 0.6
_PEEK_CHANNELS, _PEEK = 16, 8
_SAMPLES = 16  # elements of each channel that estimate its factor
_FEW = 4  # a factor for each single element proves nothing with fewer channels than this
_NEARLY_ALL = 0.9  # of a channel's elements by one factor: the channel is off as a whole


@dataclass(frozen=True)
class _Pair:
    """A native kernel and an initialiser of its size, in one layout, channels on one axis."""

    initializer: str
    name: str
    native: Array
    layout: Layout
    found: Array
    axis: int
    form: Format
    indexed: frozenset[int] = frozenset()
    noise: Array | None = None

    @property
    def channels(self) -> int:
        return int(self.found.shape[self.axis])

    @property
    def single(self) -> bool:
        """Whether each channel has one element: any vector is proportional to any other then."""
        return self.found.size == self.channels

    def match(
        self, status: Status, scaling: _Scaling, measure: Measure | None = None, note: str = ""
    ) -> WeightMatch:
        """The initialiser as the native kernel times a scaling."""
        role, fold = scaling.role, scaling.fold
        return WeightMatch(
            self.initializer, (self.name,), status, role, self.layout, fold, measure, note
        )

    def aligned(self) -> Array:
        return align(self.native, self.layout, self.found.shape)

    def sample(self, channels: Array, count: int) -> tuple[Float64, Float64, Float64]:
        """(channels, count) native elements, those found in their place, and what rounding did."""
        shape = self.found.shape
        rest = tuple(size for place, size in enumerate(shape) if place != self.axis)
        inner = np.unique(np.linspace(0, prod(rest) - 1, count).astype(np.intp))
        index = list(np.unravel_index(inner[None, :], rest))
        index.insert(self.axis, channels[:, None])
        flat = np.ravel_multi_index(tuple(np.broadcast_arrays(*index)), shape)
        native = take(self.native, self.layout, flat)
        found = self.found.reshape(-1)[flat].astype(np.float64)
        step = self.form.step
        if step is None:
            return native.astype(np.float64), found, np.zeros(flat.shape)
        half = step[np.unravel_index(flat, shape)].astype(np.float64) / 2
        return native.astype(np.float64), found, half


@dataclass(frozen=True)
class _Scaling:
    """What a kernel was multiplied by: (channels,), or (1,) for a copy.

    Args:
        fold: the index of the BatchNorm whose factor it is, if it is one's.
    """

    status: Status
    role: Role
    factor: Float64
    fold: int | None = None


_COPY = _Scaling("identical", "copy", np.ones(1))


def explain_kernel(
    name: str,
    found: Array,
    natives: Iterable[str],
    weights: Mapping[str, Array],
    folds: Sequence[Fold],
    form: Format,
    indexed: Collection[int] = (),
    noises: Mapping[str, Array] | None = None,
) -> WeightMatch | None:
    """The best explanation of initialiser ``found`` by one of ``natives``, or None.

    Args:
        indexed: axes along which the graph reads it by index.
        noises: how far the natives themselves may be off, absolute, in their shapes: of what was
            computed, and so is no copy.
    """
    best: WeightMatch | None = None
    for native in natives:
        array = weights[native]
        for layout in layouts(array.shape, found.shape):
            for axis in _channel_axes(found.shape):
                noise = None if noises is None else noises[native]
                pair = _Pair(
                    name, native, array, layout, found, axis, form, frozenset(indexed), noise
                )
                scaling = _scaling(pair, folds)
                match = None if scaling is None else _match(pair, scaling, folds)
                if match is None or match.mismatched:
                    match = _of_groups(pair, folds, match)
                if match is None:
                    continue
                if not match.mismatched:
                    return match
                if best is None or match.mismatched < best.mismatched:
                    best = match
    return best


def _channel_axes(shape: Shape) -> list[int]:
    """Where output channels may stand: first (Conv), last (MatMul), second (ConvTranspose)."""
    return list(dict.fromkeys((0, len(shape) - 1, 1)))


def _match(pair: _Pair, scaling: _Scaling, folds: Sequence[Fold]) -> WeightMatch:
    """Compare every element; a copy must be exact, as far as the file's format can be."""
    form, weight_tolerance = pair.form, pair.form.weight_tolerance(pair.native.dtype)
    aligned = pair.aligned()
    if pair.noise is not None:
        noise = np.abs(
            _scaled(align(pair.noise, pair.layout, pair.found.shape), scaling.factor, pair)
        )
        weight_tolerance = replace(
            weight_tolerance,
            tiny=np.maximum(weight_tolerance.tiny, noise),
            copy=weight_tolerance.fold,
        )
    limit = weight_tolerance.limit(scaling.role)
    measure = measure_scaled(
        aligned, scaling.factor, pair.axis, pair.found, weight_tolerance, limit
    )
    status = scaling.status
    note = "" if scaling.fold is None else f"times factor of BatchNorm '{folds[scaling.fold].name}'"
    coarse = coarser_format(form, lambda: _scaled(aligned, scaling.factor, pair), pair.found)
    if measure.mismatched or coarse:
        narrow = coarse or narrower_format(form.held(aligned), pair.found)
        status = "rounded" if narrow else "differs"
        detail = (
            f"rounded to {narrow}"
            if narrow
            else _wrong_channel(pair, aligned, scaling.factor, limit)
        )
        note = f"{note} {detail}".strip()
        if not narrow and _is_permuted(aligned, scaling.factor, pair, limit * weight_tolerance.eps):
            return pair.match("rearranged", scaling)
    return pair.match(status, scaling, measure, note)


def _of_groups(pair: _Pair, folds: Sequence[Fold], match: WeightMatch | None) -> WeightMatch | None:
    """The kernel as a transposed convolution's in groups, if a BatchNorm fits it better than so.

    Its output channels stand group by group along the first axis, and within a group along the
    second: ``(in, out / groups, ...)``.
    """
    shape = pair.found.shape
    if pair.axis != 1 or len(shape) < 3 or pair.native.shape != shape:
        return match
    sizes = {fold.factor.size for fold in folds if fold.factor.size > shape[1]}
    for groups in sorted(size // shape[1] for size in sizes if size % shape[1] == 0):
        if shape[0] % groups or pair.form.step is not None:
            continue
        ours, theirs = (_by_channel(each, groups) for each in (pair.aligned(), pair.found))
        layout = tuple(range(ours.ndim))
        other = _Pair(pair.initializer, pair.name, ours, layout, theirs, 0, pair.form)
        scaling = _scaling(other, folds)
        if scaling is None or scaling.fold is None:
            continue
        better = _match(other, scaling, folds)
        fits = match is None or better.mismatched < match.mismatched
        if better.measure is not None and fits:
            flat = _ungrouped(better.measure.flat, shape, groups)
            measure = replace(better.measure, flat=flat)
            match = replace(better, layout=pair.layout, measure=measure)
    return match


def _by_channel(kernel: Array, groups: int) -> Array:
    """A grouped kernel with all output channels along its first axis."""
    inner, outer = kernel.shape[0] // groups, kernel.shape[1]
    parts = kernel.reshape(groups, inner, outer, *kernel.shape[2:])
    return np.swapaxes(parts, 1, 2).reshape(groups * outer, inner, *kernel.shape[2:])


def _ungrouped(flat: int, shape: Shape, groups: int) -> int:
    """Where an element of :func:`_by_channel` stands in the kernel."""
    places = np.arange(prod(shape)).reshape(shape)
    return int(_by_channel(places, groups).reshape(-1)[flat])


def _wrong_channel(pair: _Pair, aligned: Array, factor: Float64, limit: float) -> str:
    """The channel that is off as a whole, by one factor, if it is but one; else nothing."""
    expected, weight_tolerance = (
        _scaled(aligned, factor, pair),
        pair.form.weight_tolerance(pair.native.dtype),
    )
    found = pair.found.astype(np.float64)
    damaged = (
        deviations(expected, np.abs(expected), found, weight_tolerance.eps, weight_tolerance.tiny)
        > limit
    )
    channels = np.unique(np.nonzero(damaged)[pair.axis])
    if channels.size != 1 or pair.channels == 1:
        return ""
    ours, theirs = (np.take(each, channels[0], pair.axis) for each in (expected, found))
    with np.errstate(invalid="ignore"):
        ratios = theirs[ours != 0] / ours[ours != 0]
        ratio = float(np.median(ratios)) if ratios.size > 1 else 1.0
        alike = np.abs(ratios - ratio) < abs(ratio - 1) / 2
    if f"{ratio:.4g}" == "1" or np.mean(alike) < _NEARLY_ALL:
        return ""
    return f"all of channel {channels[0]} is about {ratio:.4g} times what it should be"


def _scaled(aligned: Array, factor: Float64, pair: _Pair) -> Float64:
    """What the initialiser should hold, in float64."""
    shape = [-1 if axis == pair.axis else 1 for axis in range(aligned.ndim)]
    scaled: Float64 = aligned * np.broadcast_to(factor, (pair.channels,)).reshape(shape)
    return scaled


def _is_permuted(aligned: Array, factor: Float64, pair: _Pair, tolerance: float) -> bool:
    expected = _scaled(aligned, factor, pair)
    return permuted(
        expected, pair.found.astype(np.float64), tolerance * np.abs(expected), pair.indexed
    )


def _scaling(pair: _Pair, folds: Sequence[Fold]) -> _Scaling | None:
    """The scaling that most channels follow; None if the two do not resemble each other."""
    peek = np.unique(np.linspace(0, pair.channels - 1, _PEEK_CHANNELS).astype(np.intp))
    if not pair.single and not _proportional(*pair.sample(peek, _PEEK)):
        return None
    native, found, _ = pair.sample(np.arange(pair.channels), _SAMPLES)
    estimate = _factors(native, found)
    known = _closest(estimate, folds, pair.form.near)
    if pair.single:
        return known if pair.channels >= _FEW else None
    if known is not None:
        return known
    if np.any(estimate == 0):  # a channel zeroed is no rescaling
        return None
    return _Scaling("rescaled", "kernel", _filled(estimate, pair))


def _factors(native: Float64, found: Float64) -> Float64:
    """Each channel's factor: the (lower) median ratio where the native element is not zero.

    A median shrugs off the damaged elements that the full comparison is to find. NaN where a
    channel's sample is all zero.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = np.where(native == 0, np.nan, found / native)
    ratios.sort(axis=1)  # NaN last
    middle = np.maximum(np.count_nonzero(native, axis=1) - 1, 0) // 2
    factors: Float64 = np.take_along_axis(ratios, middle[:, None], axis=1)[:, 0]
    return factors


def _filled(factors: Float64, pair: _Pair) -> Float64:
    """The factors, with those that a sample of zeros left open taken at the largest element."""
    gaps = np.flatnonzero(np.isnan(factors))
    if not gaps.size:
        return factors
    native, found = (
        np.moveaxis(side, pair.axis, 0)[gaps].reshape(gaps.size, -1).astype(np.float64)
        for side in (pair.aligned(), pair.found)
    )
    largest = (np.arange(gaps.size), np.abs(native).argmax(axis=1))
    filled = factors.copy()
    filled[gaps] = np.nan_to_num(_factors(native[largest][:, None], found[largest][:, None]))
    return filled


def _proportional(native: Float64, found: Float64, slack: Float64) -> bool:
    """Whether most sampled elements agree with their own channel's factor."""
    factors = _factors(native, found)[:, None]
    live = np.isfinite(factors) & (native != 0)
    with np.errstate(invalid="ignore", over="ignore"):
        agree = np.abs(found - native * factors) <= _NEAR * np.abs(native * factors) + 2 * slack
    return bool(np.count_nonzero(agree & live) >= _MOST * np.count_nonzero(live) > 0)


def _closest(estimate: Float64, folds: Sequence[Fold], near: float) -> _Scaling | None:
    """The copy's factor or the fold's that most channels follow, if one is near."""
    live = np.isfinite(estimate)
    if not live.any():
        return None
    known = [_COPY] + [
        _Scaling("folded", "kernel", fold.factor, index)
        for index, fold in enumerate(folds)
        if fold.factor.size == estimate.size
    ]
    factors = np.stack([np.broadcast_to(each.factor, estimate.shape)[live] for each in known])
    scale = np.maximum(np.abs(estimate[live]), np.abs(factors))
    gaps = np.abs(estimate[live] - factors) / np.where(scale == 0, 1.0, scale)
    medians = np.median(gaps, axis=1)
    best = int(np.argmin(medians))
    return known[best] if medians[best] <= near else None
