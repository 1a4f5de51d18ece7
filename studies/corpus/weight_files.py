"""Weights that are lost on their way to the file: elements, bytes, digits."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, attribute
from studies.corpus.graph_edits import (
    AVERAGES,
    data_inputs,
    kernels,
    only_reader,
    rewritten,
    tensors,
)

FAMILY = "weights"
SWITCHES = ("Relu", "Clip", "LeakyRelu", "HardSwish", "Mul")
FAINT = 0.01  # of its tensor's rms; less is a channel that weight decay has switched off
LARGE = 16.0  # a swapped element below this stays finite on its way through a network


@fault(FAMILY, values=True, story="one bit of an exponent flips on disk or in memory")
def element_doubled(draft: Draft) -> Iterator[Site]:
    for name in tensors(draft):
        yield from rewritten(draft, name, lambda array: _largest_times(array, 2.0))


@fault(FAMILY, values=True, story="one sign bit flips on disk or in memory")
def element_negated(draft: Draft) -> Iterator[Site]:
    for name in tensors(draft):
        yield from rewritten(draft, name, lambda array: _largest_times(array, -1.0))


@fault(FAMILY, story="reading starts one element late: the first is lost and all move up")
def elements_shifted_by_one(draft: Draft) -> Iterator[Site]:
    for name in tensors(draft):
        yield from rewritten(draft, name, _shifted)


@fault(FAMILY, values=True, story="the file ends early and its last element is read as zero")
def last_element_lost(draft: Draft) -> Iterator[Site]:
    for name in tensors(draft):
        if _ends_alive(draft, name):
            yield from rewritten(draft, name, lambda array: _tail_zeroed(array, 1))


@fault(FAMILY, story="a partial write: the second half of a tensor is zero")
def second_half_lost(draft: Draft) -> Iterator[Site]:
    for name in tensors(draft):
        yield from rewritten(draft, name, lambda array: _tail_zeroed(array, array.size // 2))


@fault(FAMILY, story="a buffer is written twice: the second half repeats the first")
def first_half_repeated(draft: Draft) -> Iterator[Site]:
    for name in tensors(draft):
        yield from rewritten(draft, name, _repeated)


@fault(FAMILY, values=True, story="an element at a chunk's border has the other byte order")
def element_in_the_other_byte_order(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, _one_swapped)


@fault(FAMILY, story="a tensor is stored in half precision and read back")
def rounded_to_float16(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, lambda array: _through(array, np.float16))


@fault(FAMILY, story="a checkpoint in bfloat16 is taken for one layer")
def rounded_to_bfloat16(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, lambda array: _through(array, ml_dtypes.bfloat16))


@fault(FAMILY, story="a layer was quantised to eight bits and dequantised, without a trace")
def rounded_to_eight_bits(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, _quantised)


@fault(FAMILY, story="weights travel as text with four decimals")
def rounded_to_four_decimals(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, lambda array: np.round(array, 4))


@fault(FAMILY, story="weights travel as whole numbers of a ten-thousandth and are cut, not rounded")
def fractions_cut(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, lambda array: np.trunc(array * 1e4) / np.float32(1e4))


@fault(FAMILY, story="training ended in an overflow that one element remembers")
def element_not_a_number(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, lambda array: _largest_times(array, np.nan))


def _ends_alive(draft: Draft, name: str) -> bool:
    """Whether the last element is surely heard: no activation before or behind switches it off.

    A trained network has channels that an activation holds at zero, and elements that weight
    decay has made all but zero: losing those changes nothing.
    """
    array, reader = draft.array(name), draft.consumers(name)[0]
    if abs(array.flat[-1]) < FAINT * _rms(array):
        return False
    if list(reader.input).index(name) == 1 and array.ndim > 1:
        source = draft.producer(reader.input[0])
        while source is not None and source.op_type in ("Flatten", "Reshape", "Squeeze", *AVERAGES):
            source = draft.producer(source.input[0])
        if source is not None and source.op_type in SWITCHES:
            return False
    behind = only_reader(draft, reader.output[0])
    while behind is not None and behind.op_type in ("Mul", "Add", "BatchNormalization"):
        if len(data_inputs(draft, behind)) > 1:
            return True
        behind = only_reader(draft, behind.output[0])
    return behind is None or behind.op_type not in (*SWITCHES, "Conv") or _is_full(draft, behind)


def _is_full(draft: Draft, node: onnx.NodeProto) -> bool:
    """Whether a node is a layer that reads all channels for each that it makes."""
    return node.op_type == "Conv" and attribute(node, "group", 1) == 1


def _rms(array: Array) -> float:
    return float(np.sqrt(np.square(array, dtype=np.float64).mean()))


def _largest(array: Array) -> int:
    return int(np.argmax(np.abs(array)))


def _largest_times(array: Array, factor: float) -> Array:
    changed = array.copy()
    changed.flat[_largest(array)] *= np.float32(factor)
    return changed


def _shifted(array: Array) -> Array:
    flat = array.reshape(-1)
    return np.append(flat[1:], flat[-1]).reshape(array.shape)


def _tail_zeroed(array: Array, count: int) -> Array:
    changed = array.copy()
    changed.flat[array.size - count :] = 0
    return changed


def _repeated(array: Array) -> Array:
    flat, half = array.reshape(-1).copy(), array.size // 2
    flat[half : 2 * half] = flat[:half]
    return flat.reshape(array.shape)


def _one_swapped(array: Array) -> Array:
    flat = array.reshape(-1).copy()
    swapped = flat.byteswap()
    usable = np.isfinite(swapped) & (np.abs(swapped) < LARGE)
    change = np.where(usable, np.abs(np.where(usable, swapped, 0) - flat), 0)
    place = int(np.argmax(change))
    flat[place] = swapped[place] if usable[place] else flat[place]
    return flat.reshape(array.shape)


def _through(array: Array, dtype: type) -> Array:
    return array.astype(dtype).astype(array.dtype)


def _quantised(array: Array) -> Array:
    step = np.float32(np.abs(array).max() / 127)
    return np.round(array / step) * step if step else array
