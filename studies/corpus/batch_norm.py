"""Batch normalisation gone wrong, as nodes and folded into convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, set_attribute
from studies.corpus.norms import Norm, Statistics, norms, over_outputs
from studies.corpus.patches import Build, Patch, bypass_site, detour_site, give, replace_site
from studies.corpus.survey import layers

FAMILY = "batch norm"
Change = Callable[[Statistics], Statistics]


def changed(draft: Draft, change: Change, *forms: str) -> Iterator[Site]:
    """A site at each normalisation that a change of its statistics makes another function."""
    for norm in norms(draft, *forms):
        new = change(norm.statistics)
        if norm.statistics.differs(new):
            yield Site(norm.place, partial(norm.rewrite, new=new), norm.root_cause)


@fault(FAMILY, story="the framework's usual epsilon was written, not the layer's (1e-5, 1e-3)")
def epsilon_of_another_framework(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, epsilon=1e-3 if s.epsilon < 1e-4 else 1e-5))


@fault(FAMILY, story="the fold divides by the root of the variance alone")
def epsilon_forgotten(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, epsilon=0.0))


@fault(FAMILY, story="a fold of one's own adds epsilon after the root: sqrt(variance) + epsilon")
def epsilon_outside_the_root(draft: Draft) -> Iterator[Site]:
    return changed(
        draft,
        lambda s: replace(s, variance=(np.sqrt(s.variance) + s.epsilon) ** 2 - s.epsilon),
    )


@fault(FAMILY, story="the root is forgotten: the variance is taken for the standard deviation")
def variance_taken_for_deviation(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, variance=(s.variance + s.epsilon) ** 2 - s.epsilon))


@fault(FAMILY, story="the moving mean is not converted and stays zero")
def mean_forgotten(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, mean=np.zeros_like(s.mean)))


@fault(FAMILY, story="the mean is added in the folded bias, not subtracted")
def mean_with_the_wrong_sign(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, mean=-s.mean))


@fault(FAMILY, story="beta is taken for absent (Keras center=False)")
def beta_forgotten(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, beta=np.zeros_like(s.beta)))


@fault(FAMILY, story="gamma is taken for absent (Keras scale=False, Caffe's fix_gamma)")
def gamma_forgotten(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, gamma=np.ones_like(s.gamma)))


@fault(FAMILY, story="the four vectors are read in another order: beta and gamma change places")
def gamma_and_beta_exchanged(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, gamma=s.beta, beta=s.gamma))


@fault(FAMILY, story="the four vectors are read in another order: mean and variance change places")
def mean_and_variance_exchanged(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, mean=s.variance, variance=np.abs(s.mean)))


@fault(FAMILY, story="only trained parameters were loaded; the statistics are still 0 and 1")
def fresh_statistics(draft: Draft) -> Iterator[Site]:
    return changed(
        draft, lambda s: replace(s, mean=np.zeros_like(s.mean), variance=np.ones_like(s.variance))
    )


@fault(FAMILY, story="a batch was seen between saving and export: statistics moved by a step")
def statistics_one_step_old(draft: Draft) -> Iterator[Site]:
    return changed(
        draft,
        lambda s: replace(s, mean=0.99 * s.mean, variance=0.99 * s.variance + 0.01),
    )


@fault(FAMILY, story="a name that is matched by its number picks another layer's statistics")
def statistics_of_another_layer(draft: Draft) -> Iterator[Site]:
    found = norms(draft)
    for place, norm in enumerate(found):
        others = found[place + 1 :] + found[:place]
        alike = (o for o in others if o.statistics.mean.shape == norm.statistics.mean.shape)
        other = next(alike, None)
        if other is None:
            continue
        new = replace(
            norm.statistics, mean=other.statistics.mean, variance=other.statistics.variance
        )
        if norm.statistics.differs(new):
            yield Site(norm.place, partial(norm.rewrite, new=new), norm.root_cause)


@fault(FAMILY, story="a slice off by one hands each channel its neighbour's statistics")
def statistics_shifted_by_a_channel(draft: Draft) -> Iterator[Site]:
    return changed(
        draft,
        lambda s: replace(s, mean=np.roll(s.mean, 1), variance=np.roll(s.variance, 1)),
    )


@fault(FAMILY, story="the moving mean is folded without the scale: beta - mean")
def folded_mean_not_scaled(draft: Draft) -> Iterator[Site]:
    return changed(draft, lambda s: replace(s, mean=s.mean / s.scale), "folded", "affine")


@fault(FAMILY, story="the kernel is folded, the bias keeps what it was: zero")
def bias_not_folded(draft: Draft) -> Iterator[Site]:
    return changed(
        draft,
        lambda s: replace(s, beta=np.zeros_like(s.beta), mean=np.zeros_like(s.mean)),
        "folded",
    )


@fault(FAMILY, story="two passes fold the same layer: the kernel is scaled twice")
def kernel_folded_twice(draft: Draft) -> Iterator[Site]:
    for norm in norms(draft, "folded"):
        if norm.statistics.differs(replace(norm.statistics, gamma=norm.statistics.gamma**2)):
            yield Site(norm.place, partial(_scale_kernel, norm=norm, axis=0), norm.root_cause)


@fault(FAMILY, story="the scale is multiplied along the input channels, where the kernel is square")
def kernel_folded_along_inputs(draft: Draft) -> Iterator[Site]:
    for norm in norms(draft, "folded"):
        shape = draft.array(draft.node(norm.place).input[1]).shape
        if shape[0] == shape[1] > 1:
            yield Site(norm.place, partial(_scale_kernel, norm=norm, axis=1), norm.root_cause)


@fault(FAMILY, story="folded into the convolution, and the node is left in the graph as well")
def folded_and_kept(draft: Draft) -> Iterator[Site]:
    convolutions = {draft.node(layer.name).output[0]: layer for layer in layers(draft, "Conv")}
    for norm in norms(draft, "node"):
        layer = convolutions.get(draft.node(norm.place).input[0])
        if layer is not None and len(draft.node(layer.name).input) == 2:
            strike = partial(_fold_and_keep, convolution=layer.name, norm=norm)
            yield Site(norm.place, strike, (layer.name, norm.place))


@fault(
    FAMILY,
    link="https://github.com/pytorch/pytorch/issues/75252",
    story="exported in training mode: the node normalises by the batch at hand",
)
def training_mode(draft: Draft) -> Iterator[Site]:
    for norm in norms(draft, "node") if draft.opset >= 14 else ():
        yield Site(norm.place, partial(_train, name=norm.place), norm.root_cause)


@fault(
    FAMILY,
    link="https://github.com/microsoft/onnxscript/issues/1791",
    story="exported in training mode and decomposed: mean and variance of the batch at hand",
)
def batch_statistics_as_nodes(draft: Draft) -> Iterator[Site]:
    return _renormalised(draft, (0, 2, 3))


@fault(FAMILY, story="mapped to InstanceNormalization: mean and variance of each image")
def instance_statistics(draft: Draft) -> Iterator[Site]:
    return _renormalised(draft, (2, 3))


@fault(FAMILY, story="fused away without a fold: the node is gone, its convolution unchanged")
def normalisation_dropped(draft: Draft) -> Iterator[Site]:
    for norm in norms(draft, "node"):
        yield from bypass_site(draft, norm.place)


def _renormalised(draft: Draft, axes: tuple[int, ...]) -> Iterator[Site]:
    for norm in norms(draft):
        node = draft.node(norm.place)
        if len(draft.shapes.get(node.output[0], ())) != 4:
            continue
        build = partial(_normalise, norm=norm, axes=axes, opset=draft.opset)
        if norm.form != "folded":
            yield replace_site(norm.place, build)
            continue
        # A convolution that has the fold inside is normalised afresh behind it.
        yield _behind(draft, norm, build)


def _behind(draft: Draft, norm: Norm, build: Build) -> Site:
    return replace(detour_site(draft.node(norm.place).output[0], build), place=norm.place)


def _normalise(patch: Patch, value: str, *, norm: Norm, axes: tuple[int, ...], opset: int) -> str:
    mean = _mean(patch, value, axes, opset)
    centred = patch.add("Sub", value, mean)
    variance = _mean(patch, patch.add("Mul", centred, centred), axes, opset)
    epsilon = patch.constant(norm.statistics.epsilon)
    deviation = patch.add("Sqrt", patch.add("Add", variance, epsilon))
    gamma, beta = norm.statistics.gamma[:, None, None], norm.statistics.beta[:, None, None]
    if norm.form == "folded":  # the kernel has the sign
        gamma = np.abs(gamma)
    scaled = patch.add("Mul", patch.add("Div", centred, deviation), patch.constant(gamma))
    if norm.form == "affine":  # the Add that is left in the graph brings the shift
        back = patch.constant((norm.statistics.mean * norm.statistics.scale)[:, None, None])
        return patch.add("Add", scaled, back)
    return patch.add("Add", scaled, patch.constant(beta))


def _mean(patch: Patch, value: str, axes: tuple[int, ...], opset: int) -> str:
    if opset >= 18:
        return patch.add("ReduceMean", value, patch.constant(np.array(axes), np.int64), keepdims=1)
    return patch.add("ReduceMean", value, axes=list(axes), keepdims=1)


def _scale_kernel(mutant: Mutant, *, norm: Norm, axis: int) -> None:
    kernel = mutant.array(mutant.node(norm.place).input[1])
    scale = norm.statistics.scale
    if axis == 0:
        new = kernel * over_outputs(scale, kernel)
    else:
        new = kernel / over_outputs(scale, kernel) * over_outputs(scale, kernel).swapaxes(0, 1)
    give(mutant, norm.place, 1, new.astype(kernel.dtype))


def _fold_and_keep(mutant: Mutant, *, convolution: str, norm: Norm) -> None:
    kernel = mutant.array(mutant.node(convolution).input[1])
    scaled = kernel * over_outputs(norm.statistics.scale, kernel)
    give(mutant, convolution, 1, scaled.astype(kernel.dtype))
    give(mutant, convolution, 2, norm.statistics.shift.astype(kernel.dtype))


def _train(mutant: Mutant, *, name: str) -> None:
    node = mutant.node(name)
    set_attribute(node, "training_mode", 1)
    node.output.extend([f"{name}__running_mean", f"{name}__running_var"])
