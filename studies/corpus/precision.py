"""Precision lost inside: half and brain floats, TF32, integers, rounded text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import ml_dtypes
import numpy as np
from onnx import TensorProto

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant
from studies.corpus.patches import Patch, detour, detour_for, detour_site, give, names_of
from studies.corpus.survey import Layer, data_values, layers

FAMILY = "precision"
VISIBLE = 2e-5  # of the weight's norm; float32 itself rounds to 6e-8
FLOAT16 = "https://github.com/microsoft/onnxruntime/issues/21345"


def with_weights(draft: Draft, change: Callable[[Array, Layer], Array]) -> Iterator[Site]:
    """A site at each layer whose float32 weight a change makes visibly another one."""
    for layer in layers(draft):
        old = draft.array(layer.weight)
        if old.dtype != np.float32:
            continue
        with np.errstate(over="ignore"):
            new = np.asarray(change(old, layer), np.float32)
        if np.linalg.norm(new - old) > VISIBLE * np.linalg.norm(old):
            strike = partial(give, name=layer.name, place=1, array=new)
            yield Site(layer.name, strike, (layer.name,))


def with_values(draft: Draft, build: Callable[[Patch, str], str]) -> Iterator[Site]:
    """A site at each float32 value that a layer reads."""
    for value in data_values(draft):
        yield detour_site(value, build)


@fault(FAMILY, story="weights saved in half precision to halve the file, widened on load")
def weights_through_float16(draft: Draft) -> Iterator[Site]:
    return with_weights(draft, lambda weight, _: weight.astype(np.float16))


@fault(FAMILY, story="weights saved as brain floats, widened on load")
def weights_through_bfloat16(draft: Draft) -> Iterator[Site]:
    return with_weights(draft, lambda weight, _: weight.astype(ml_dtypes.bfloat16))


@fault(FAMILY, story="brain floats made by cutting bits off: all weights shrink a little")
def weights_cut_to_bfloat16(draft: Draft) -> Iterator[Site]:
    return with_weights(draft, lambda weight, _: _cut(weight, 16))


@fault(FAMILY, story="weights saved as eight-bit floats (E4M3)")
def weights_through_float8(draft: Draft) -> Iterator[Site]:
    return with_weights(draft, lambda weight, _: weight.astype(ml_dtypes.float8_e4m3fn))


@fault(FAMILY, story="a dynamic range quantiser ran at export: int8 weights, one scale a tensor")
def weights_int8_per_tensor(draft: Draft) -> Iterator[Site]:
    return with_weights(draft, lambda weight, _: _quantised(weight, np.abs(weight).max(), 127))


@fault(FAMILY, story="int8 weights with one scale a channel")
def weights_int8_per_channel(draft: Draft) -> Iterator[Site]:
    def change(weight: Array, layer: Layer) -> Array:
        others = tuple(axis for axis in range(weight.ndim) if axis != layer.axis)
        return _quantised(weight, np.abs(weight).max(axis=others, keepdims=True), 127)

    return with_weights(draft, change)


@fault(FAMILY, story="weights written as text with three decimals")
def weights_rounded_to_three_decimals(draft: Draft) -> Iterator[Site]:
    return with_weights(draft, lambda weight, _: weight.round(3))


@fault(FAMILY, story="weights written as text with four significant digits (%.4g)")
def weights_rounded_to_four_digits(draft: Draft) -> Iterator[Site]:
    def change(weight: Array, _: Layer) -> Array:
        unit = 10.0 ** (np.floor(np.log10(np.abs(weight) + 1e-30)) - 3)
        return np.round(weight / unit) * unit

    return with_weights(draft, change)


@fault(FAMILY, story="small weights cut to zero by a pruning pass (below 1 % of the largest)")
def small_weights_pruned(draft: Draft) -> Iterator[Site]:
    return with_weights(
        draft, lambda weight, _: np.where(np.abs(weight) < 0.01 * np.abs(weight).max(), 0, weight)
    )


@fault(FAMILY, story="a scale kept in few digits: a layer is off by one part in ten thousand")
def layer_scale_slightly_off(draft: Draft) -> Iterator[Site]:
    return with_weights(draft, lambda weight, _: weight * np.float32(1.0001))


@fault(FAMILY, story="each layer's scale is kept in few digits, and the errors add up")
def all_scales_slightly_off(draft: Draft) -> Iterator[Site]:
    names = [layer.name for layer in layers(draft)]
    if len(names) > 1:
        yield Site("all layers", partial(_scale_all, names=names), tuple(names))


@fault(FAMILY, link=FLOAT16, story="a pair of Casts is left over from a half precision island")
def values_through_float16(draft: Draft) -> Iterator[Site]:
    return with_values(draft, partial(_through, dtype=TensorProto.FLOAT16))


@fault(FAMILY, story="automatic mixed precision was on at export: brain floats between layers")
def values_through_bfloat16(draft: Draft) -> Iterator[Site]:
    if draft.opset >= 13:
        yield from with_values(draft, partial(_through, dtype=TensorProto.BFLOAT16))


@fault(FAMILY, link=FLOAT16, story="a layer was not on the list that keeps float32")
def layer_in_float16(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft):
        weight = draft.array(layer.weight)
        if weight.dtype == np.float32 and len(draft.node(layer.name).output) == 1:
            build = partial(_through, dtype=TensorProto.FLOAT16)
            root_cause = [layer.name, *names_of(f"{layer.name}__0", build)]
            root_cause += names_of(draft.node(layer.name).output[0], build)
            strike = partial(_in_float16, name=layer.name, weight=weight)
            yield Site(layer.name, strike, tuple(root_cause))


@fault(
    FAMILY,
    link="https://github.com/microsoft/onnxruntime/issues/19288",
    story="TF32 multiplies: weight and input keep ten bits of mantissa",
)
def layer_in_tf32(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft):
        weight = draft.array(layer.weight)
        if weight.dtype == np.float32:
            root_cause = (layer.name, *names_of(f"{layer.name}__0", _to_ten_bits))
            strike = partial(_in_tf32, name=layer.name, weight=weight)
            yield Site(layer.name, strike, root_cause)


@fault(FAMILY, story="a quantised island: eight-bit values between two float layers")
def values_through_uint8(draft: Draft) -> Iterator[Site]:
    return with_values(draft, _fake_quantised)


@fault(FAMILY, story="quantised with one zero point, dequantised with another")
def zero_point_off_by_one(draft: Draft) -> Iterator[Site]:
    return with_values(draft, partial(_fake_quantised, shift=1))


@fault(FAMILY, story="the input is taken for integers: it goes through an integer dtype")
def input_through_integers(draft: Draft) -> Iterator[Site]:
    for value in draft.inputs:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            yield detour_site(value.name, partial(_through, dtype=TensorProto.INT32))


def _cut(array: Array, bits: int) -> Array:
    mask = np.uint32((0xFFFFFFFF << bits) & 0xFFFFFFFF)
    return (np.ascontiguousarray(array).view(np.uint32) & mask).view(np.float32)


def _quantised(weight: Array, largest: Array, levels: int) -> Array:
    scale = np.maximum(largest, 1e-30) / levels
    quantised: Array = np.round(weight / scale) * scale
    return quantised


def _through(patch: Patch, value: str, *, dtype: int) -> str:
    return patch.add("Cast", patch.add("Cast", value, to=dtype), to=TensorProto.FLOAT)


def _fake_quantised(patch: Patch, value: str, *, shift: int = 0) -> str:
    """Eight bits over the value's range at hand, by the formula of DynamicQuantizeLinear."""
    zero = patch.constant(0.0)
    least = patch.add("Min", patch.add("ReduceMin", value, keepdims=0), zero)
    most = patch.add("Max", patch.add("ReduceMax", value, keepdims=0), zero)
    width = patch.add("Max", patch.add("Sub", most, least), patch.constant(1e-30))
    scale = patch.add("Div", width, patch.constant(255.0))
    steps = patch.add("Round", patch.add("Div", value, scale))
    if shift:
        steps = patch.add("Add", steps, patch.constant(float(shift)))
    return patch.add("Mul", steps, scale)


def _to_ten_bits(patch: Patch, value: str) -> str:
    """Round to ten bits of mantissa by Veltkamp's split: c - (c - x), c = (2^13 + 1) x."""
    large = patch.add("Mul", value, patch.constant(2.0**13 + 1))
    return patch.add("Sub", large, patch.add("Sub", large, value))


def _in_tf32(mutant: Mutant, *, name: str, weight: Array) -> None:
    half = np.ascontiguousarray(weight).view(np.uint32) + np.uint32(1 << 12)
    give(mutant, name, 1, _cut(half.view(np.float32), 13))
    detour_for(mutant, name, 0, _to_ten_bits)


def _in_float16(mutant: Mutant, *, name: str, weight: Array) -> None:
    with np.errstate(over="ignore"):
        give(mutant, name, 1, weight.astype(np.float16).astype(np.float32))
    build = partial(_through, dtype=TensorProto.FLOAT16)
    detour_for(mutant, name, 0, build)
    detour(mutant, mutant.node(name).output[0], build)


def _scale_all(mutant: Mutant, *, names: list[str]) -> None:
    for name in names:
        weight = mutant.array(mutant.node(name).input[1])
        give(mutant, name, 1, (weight * 1.0001).astype(weight.dtype))
