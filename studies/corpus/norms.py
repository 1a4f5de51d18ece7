"""Where a graph normalises by batch statistics: as nodes, or folded into a convolution."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from studies.corpus.drafts import Array, Draft, Mutant, attribute, set_attribute
from studies.corpus.patches import give
from studies.corpus.survey import Layer, layers

TORCH = ("weight", "bias", "running_mean", "running_var")
KERAS = ("gamma", "beta", "moving_mean", "moving_variance")
CLOSE = 1e-4  # relative; a fold in float32 is closer, another layer's statistics are not
VISIBLE = 1e-4  # relative change of scale or shift; less is lost in float32's noise


@dataclass(frozen=True)
class Statistics:
    """A batch normalisation's parameters, float64 arrays of shape (channels,)."""

    gamma: Array
    beta: Array
    mean: Array
    variance: Array
    epsilon: float

    @property
    def scale(self) -> Array:
        """What an input is multiplied by."""
        with np.errstate(divide="ignore"):  # a dead channel, and no epsilon
            scale: Array = self.gamma / np.sqrt(self.variance + self.epsilon)
        return scale

    @property
    def shift(self) -> Array:
        """What is added after that."""
        shift: Array = self.beta - self.mean * self.scale
        return shift

    def differs(self, other: Statistics) -> bool:
        """Whether the other ones are visibly another function, and a finite one."""
        if not np.all(np.isfinite(other.scale)):
            return False
        unit = np.sqrt(np.mean(self.gamma**2))
        scales = _rms((other.scale - self.scale) / np.where(self.scale == 0, 1.0, self.scale))
        return bool(max(scales, _rms(other.shift - self.shift) / unit) > VISIBLE)


@dataclass(frozen=True)
class Norm:
    """One normalisation of a graph.

    Args:
        place: the node that does it: BatchNormalization, or the Conv (or Mul) that it went into.
        form: ``node``; ``folded`` into a Conv's weight and bias; ``affine``, as a Mul and an Add.
        statistics: of the native layer, or of the node.
        root_cause: the nodes whose constants hold it.
        bias: the convolution's own bias, in front of the normalisation.
    """

    place: str
    form: Literal["node", "folded", "affine"]
    statistics: Statistics
    root_cause: tuple[str, ...]
    bias: Array

    def rewrite(self, mutant: Mutant, new: Statistics) -> None:
        """Let the graph normalise by other statistics."""
        if self.form == "node":
            _write_node(mutant, self.place, self.statistics, new)
            return
        shift = new.shift + self.bias * new.scale
        if self.form == "affine":
            for name, value in zip(self.root_cause, (new.scale, shift), strict=True):
                place = _constant_place(mutant, mutant.node(name))
                old = mutant.array(mutant.node(name).input[place])
                give(mutant, name, place, value.reshape(old.shape).astype(old.dtype))
            return
        kernel = mutant.array(mutant.node(self.place).input[1])
        with np.errstate(divide="ignore", invalid="ignore"):  # a dead channel has scale 0
            ratio = np.nan_to_num(new.scale / self.statistics.scale)
        give(mutant, self.place, 1, (kernel * over_outputs(ratio, kernel)).astype(kernel.dtype))
        give(mutant, self.place, 2, shift.astype(kernel.dtype))


def norms(draft: Draft, *forms: str) -> list[Norm]:
    """The normalisations of a graph, in its order, of these forms (all, if none is named)."""
    if "norms" not in draft.findings:
        draft.findings["norms"] = list(_norms(draft))
    return [norm for norm in draft.findings["norms"] if not forms or norm.form in forms]


def _norms(draft: Draft) -> Iterator[Norm]:
    """All of them.

    Folded ones are known by the native weights: a Conv's kernel is then a native kernel with each
    output channel times gamma / sqrt(variance + epsilon).
    """
    for node in draft.nodes("BatchNormalization"):
        if all(map(draft.is_constant, node.input[1:5])):
            gamma, beta, mean, variance = (draft.array(n).astype(float) for n in node.input[1:5])
            epsilon = attribute(node, "epsilon", 1e-5)
            found = Statistics(gamma, beta, mean, variance, epsilon)
            yield Norm(node.name, "node", found, (node.name,), np.zeros(()))
    known = list(native_statistics(draft.weights))
    for layer in layers(draft, "Conv") if known else ():
        norm = _folded(draft, layer, known) or _affine(draft, layer, known)
        if norm is not None:
            yield norm


def native_statistics(weights: dict[str, Array]) -> Iterator[Statistics]:
    """A native model's batch normalisations, epsilon still unknown (0)."""
    for names, mark in ((TORCH, "."), (KERAS, "/")):
        for key in weights:
            stem, _, last = key.rpartition(mark)
            if last != names[3]:
                continue
            variance = weights[key].astype(float)
            parts = [weights.get(f"{stem}{mark}{name}") for name in names[:3]]
            gamma, beta, mean = (
                np.full_like(variance, other) if part is None else part.astype(float)
                for part, other in zip(parts, (1.0, 0.0, 0.0), strict=True)
            )
            yield Statistics(gamma, beta, mean, variance, 0.0)


def over_outputs(vector: Array, kernel: Array) -> Array:
    """A vector over output channels, laid out to be multiplied with a Conv's kernel."""
    return vector.reshape(-1, *[1] * (kernel.ndim - 1))


def _folded(draft: Draft, layer: Layer, known: list[Statistics]) -> Norm | None:
    kernel = draft.array(layer.weight)
    node = draft.node(layer.name)
    if len(node.input) < 3 or not node.input[2] or not draft.is_constant(node.input[2]):
        return None
    ratio = _ratio_to_native(draft.weights, kernel)
    found = None if ratio is None else _matching(known, ratio)
    if found is None:
        return None
    bias = (draft.array(node.input[2]) - found.shift) / found.scale
    bias = np.where(np.abs(bias * found.scale) > CLOSE * _rms(found.gamma), bias, 0.0)
    return Norm(layer.name, "folded", found, (layer.name,), bias)


def _affine(draft: Draft, layer: Layer, known: list[Statistics]) -> Norm | None:
    product = _only_reader(draft, draft.node(layer.name).output[0], "Mul")
    total = product and _only_reader(draft, product.output[0], "Add")
    if product is None or total is None:
        return None
    places = _constant_place(draft, product), _constant_place(draft, total)
    if -1 in places:
        return None
    scale = draft.array(product.input[places[0]]).astype(float).ravel()
    found = _matching(known, scale)
    if found is None:
        return None
    return Norm(product.name, "affine", found, (product.name, total.name), np.zeros(()))


def _only_reader(draft: Draft, value: str, operator: str) -> onnx.NodeProto | None:
    readers = draft.consumers(value)
    return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None


def _constant_place(graph: Draft | Mutant, node: onnx.NodeProto) -> int:
    return next((i for i, value in enumerate(node.input) if graph.is_constant(value)), -1)


def _matching(known: list[Statistics], scale: Array) -> Statistics | None:
    for one in known:
        if one.gamma.shape != scale.shape or not np.all(scale):
            continue
        epsilon = float(np.median((one.gamma / scale) ** 2 - one.variance))
        rounded = float(f"{max(epsilon, 0.0):.1g}")
        for guess in (1e-5, 1e-3, rounded, max(epsilon, 0.0)):
            found = dataclasses.replace(one, epsilon=guess)
            if np.all(found.variance + guess) and np.all(
                np.abs(found.scale - scale) <= CLOSE / 10 * np.abs(scale)
            ):
                return found
    return None


def _ratio_to_native(weights: dict[str, Array], kernel: Array) -> Array | None:
    rows = kernel.reshape(kernel.shape[0], -1).astype(float)
    for native in weights.values():
        if native.ndim != kernel.ndim or native.size != kernel.size:
            continue
        for laid_out in _as_kernels(native, kernel.shape):
            other = laid_out.reshape(rows.shape).astype(float)
            products, squares = (rows * other).sum(axis=1), (other**2).sum(axis=1)
            ratio: Array = products / np.where(squares == 0, 1.0, squares)
            rest = np.abs(rows - ratio[:, None] * other).max(axis=1)
            if np.all(rest <= CLOSE * np.abs(rows).max(axis=1)) and np.all(ratio):
                return ratio
    return None


def _as_kernels(native: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    if native.shape == shape:
        yield native
    if native.ndim == 4:
        for order in ((3, 2, 0, 1), (2, 3, 0, 1)):  # Keras: a convolution's, a depthwise one's
            laid_out = native.transpose(order)
            if laid_out.shape == shape or order[0] == 2 and shape[1] == 1:
                yield laid_out.reshape(shape) if laid_out.size == np.prod(shape) else laid_out


def _write_node(mutant: Mutant, name: str, old: Statistics, new: Statistics) -> None:
    for place, field in enumerate(("gamma", "beta", "mean", "variance"), start=1):
        value = getattr(new, field)
        if not np.array_equal(value, getattr(old, field)):
            dtype = mutant.array(mutant.node(name).input[place]).dtype
            give(mutant, name, place, np.asarray(value, dtype))
    if new.epsilon != old.epsilon:
        set_attribute(mutant.node(name), "epsilon", new.epsilon)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
