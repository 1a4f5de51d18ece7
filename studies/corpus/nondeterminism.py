"""Randomness that was left in: the same input gives another output each time, no seed is set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from onnx import TensorProto, helper

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant
from studies.corpus.patches import Patch, detour_site
from studies.corpus.survey import data_values, layers

FAMILY = "nondeterminism"


@fault(FAMILY, story="a GaussianNoise layer is still active")
def noise_added(draft: Draft) -> Iterator[Site]:
    for value in data_values(draft):
        yield detour_site(value, partial(_noisy, scale=1e-2))


@fault(FAMILY, story="the input is dithered, as a training pipeline does")
def input_dithered(draft: Draft) -> Iterator[Site]:
    for value in draft.inputs:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            yield detour_site(value.name, _dithered)


@fault(
    FAMILY,
    link="https://github.com/microsoft/onnxruntime/issues/5600",
    story="exported in training mode: Dropout still drops",
)
def dropout_still_drops(draft: Draft) -> Iterator[Site]:
    if draft.opset < 12:
        return
    for layer in layers(draft, "Gemm", "MatMul"):
        yield detour_site(layer.data, _dropped_out)


@fault(FAMILY, story="a dropout of one's own: a mask of RandomUniform, without a switch")
def random_mask(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft):
        yield detour_site(draft.node(layer.name).output[0], _masked)


@fault(FAMILY, story="stochastic depth still skips residual branches")
def stochastic_depth(draft: Draft) -> Iterator[Site]:
    if draft.opset < 15:
        return
    for node in draft.nodes("Add"):
        if any(map(draft.is_constant, node.input)) or node.input[0] == node.input[1]:
            continue
        branch = node.input[0]
        if len(draft.consumers(branch)) == 1 and draft.producer(branch) is not None:
            yield detour_site(branch, _skipped)


@fault(FAMILY, story="weights drawn anew at each run: a stochastic layer took its sampling path")
def weights_resampled(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft):
        weight = draft.array(layer.weight)
        if weight.dtype == np.float32:
            strike = partial(_resample, name=layer.name, shape=weight.shape, scale=weight.std())
            yield Site(layer.name, strike, (layer.name, *_names(layer.name)))


def _noisy(patch: Patch, value: str, *, scale: float) -> str:
    noise = patch.add("RandomNormalLike", value, mean=0.0, scale=scale)
    return patch.add("Add", value, noise)


def _dithered(patch: Patch, value: str) -> str:
    noise = patch.add("RandomUniformLike", value, low=-1 / 255, high=1 / 255)
    return patch.add("Add", value, noise)


def _dropped_out(patch: Patch, value: str) -> str:
    """By the mask: ONNX Runtime takes out a Dropout whose mask nobody reads, training or not."""
    ratio, training = patch.constant(0.2), patch.constant(True, np.bool_)
    mask = f"{patch.add('Dropout', value, ratio, training)}_mask"
    patch.nodes[-1].output.append(mask)
    kept = patch.add("Mul", value, patch.add("Cast", mask, to=TensorProto.FLOAT))
    return patch.add("Mul", kept, patch.constant(1 / 0.8))


def _masked(patch: Patch, value: str) -> str:
    chance = patch.add("RandomUniformLike", value, low=0.0, high=1.0)
    kept = patch.add("Greater", chance, patch.constant(0.1))
    mask = patch.add("Cast", kept, to=TensorProto.FLOAT)
    return patch.add("Mul", patch.add("Mul", value, mask), patch.constant(1 / 0.9))


def _skipped(patch: Patch, value: str) -> str:
    alive = patch.add("Bernoulli", patch.constant(np.full(1, 0.5)))
    return patch.add("Mul", patch.add("Mul", value, alive), patch.constant(2.0))


def _names(name: str) -> tuple[str, str]:
    return f"{name}__noise", f"{name}__noisy_weight"


def _resample(mutant: Mutant, *, name: str, shape: tuple[int, ...], scale: float) -> None:
    node = mutant.node(name)
    noise, noisy = _names(name)
    deviation = float(scale) / 100
    draw = helper.make_node(
        "RandomNormal", [], [f"{noise}:0"], name=noise, shape=shape, mean=0.0, scale=deviation
    )
    add = helper.make_node("Add", [node.input[1], f"{noise}:0"], [f"{noisy}:0"], name=noisy)
    node.input[1] = f"{noisy}:0"
    mutant.insert(draw, before=name)
    mutant.insert(add, before=name)
