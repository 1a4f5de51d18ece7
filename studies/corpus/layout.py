"""Values read in another order than they were written: transposed, NHWC for NCHW, BGR for RGB."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant, attribute, set_attribute
from studies.corpus.graph_edits import (
    is_float,
    kernels,
    known_sizes,
    maps,
    places_matter,
    rewritten,
)
from studies.corpus.patches import Patch, detour_for, detour_site, names_of, replace_site

FAMILY = "layout"


@fault(
    FAMILY,
    story="a square dense weight is stored (in, out) by one framework and (out, in) by the other",
)
def square_weight_transposed(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft, "Gemm", "MatMul"):
        shape = draft.array(name).shape
        if len(shape) == 2 and shape[0] == shape[1]:
            yield from rewritten(draft, name, lambda weight: weight.T)


@fault(FAMILY, story="a dense weight is reshaped to its new layout, not transposed")
def weight_reshaped_not_transposed(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft, "Gemm", "MatMul"):
        if draft.array(name).ndim == 2 and min(draft.array(name).shape) > 1:
            yield from rewritten(draft, name, lambda w: w.reshape(w.shape[::-1]).T)


@fault(FAMILY, story="transB is flipped and the array only reshaped to suit")
def transposition_flag_flipped_alone(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Gemm"):
        name = node.input[1]
        if draft.is_constant(name) and min(draft.array(name).shape) > 1:
            yield Site(name, partial(_flip_flag, node=node.name), (node.name,))


@fault(FAMILY, story="input and output channels of a kernel change places where they are as many")
def kernel_channels_exchanged(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft, "Conv", "ConvTranspose"):
        shape = draft.array(name).shape
        if shape[0] == shape[1]:
            yield from rewritten(draft, name, lambda kernel: kernel.swapaxes(0, 1))


@fault(FAMILY, story="a kernel's height and width change places: HWIO was taken for WHIO")
def kernel_height_and_width_exchanged(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft, "Conv", "ConvTranspose"):
        shape = draft.array(name).shape
        if len(shape) == 4 and shape[2] == shape[3]:
            yield from rewritten(draft, name, lambda kernel: kernel.swapaxes(2, 3))


@fault(FAMILY, story="a convolution for a cross-correlation: the kernel is turned by 180 degrees")
def kernel_turned(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft, "Conv", "ConvTranspose"):
        if draft.array(name).ndim == 4:
            yield from rewritten(draft, name, lambda kernel: kernel[:, :, ::-1, ::-1])


@fault(FAMILY, story="a kernel's memory is OHWI (TFLite) and is read as OIHW")
def kernel_read_as_oihw(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft, "Conv"):
        if draft.array(name).ndim == 4:
            yield from rewritten(draft, name, _from_ohwi)


@fault(
    FAMILY,
    story="a kernel's memory is HWIO (TensorFlow) and is read as OIHW",
    link="https://github.com/onnx/onnx-tensorflow/issues/253",
)
def kernel_read_without_hwio(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft, "Conv"):
        if draft.array(name).ndim == 4:
            yield from rewritten(draft, name, _from_hwio)


@fault(FAMILY, story="features are flattened in NHWC order, the dense layer wants NCHW")
def flattened_in_nhwc_order(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Flatten", "Reshape"):
        sizes, made = (known_sizes(draft, v) for v in (node.input[0], node.output[0]))
        flat = sizes is not None and made is not None and len(sizes) == 3 and len(made) == 1
        if sizes and flat and sizes[0] > 1 and sizes[1] * sizes[2] > 1:
            build = partial(_permuted, perm=(0, 2, 3, 1))
            strike = partial(detour_for, name=node.name, place=0, build=build)
            yield Site(node.name, strike, (*names_of(f"{node.name}__0", build), node.name))


@fault(FAMILY, story="OpenCV reads BGR, the model wants RGB, and the swap went into the file")
def input_channels_reversed(draft: Draft) -> Iterator[Site]:
    for value in draft.inputs:
        shape = draft.shapes[value.name]
        for axis in (1, 3):
            if len(shape) == 4 and shape[axis] == 3 and is_float(draft, value.name):
                yield detour_site(value.name, partial(_gathered, order=(2, 1, 0), axis=axis))


@fault(FAMILY, story="the first kernel's colours were reversed to take BGR, the input was not")
def first_kernel_for_bgr(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft, "Conv"):
        if draft.array(name).ndim == 4 and draft.array(name).shape[1] == 3:
            yield from rewritten(draft, name, lambda kernel: kernel[:, ::-1])


@fault(FAMILY, story="the image is fed as (width, height), as PIL gives its size")
def input_height_and_width_exchanged(draft: Draft) -> Iterator[Site]:
    for value in draft.inputs:
        shape = draft.shapes[value.name]
        if len(shape) != 4 or not is_float(draft, value.name):
            continue
        first = 1 if shape[3] in (1, 3, 4) else 2
        if shape[first] == shape[first + 1]:
            perm = (0, 2, 1, 3) if first == 1 else (0, 1, 3, 2)
            yield detour_site(value.name, partial(_permuted, perm=perm))


@fault(FAMILY, story="half of a pair of transpositions is optimised away")
def map_height_and_width_exchanged(draft: Draft) -> Iterator[Site]:
    for one in maps(draft, "Conv"):
        if one.height == one.width > 1 and places_matter(draft, one.value):
            yield detour_site(one.value, partial(_permuted, perm=(0, 1, 3, 2)))


@fault(FAMILY, story="a map's memory is NHWC and is read as NCHW, without a transposition")
def map_memory_read_in_another_layout(draft: Draft) -> Iterator[Site]:
    for one in maps(draft, "Conv"):
        if one.channels > 1 and one.height * one.width > 1:
            shape = (-1, one.height, one.width, one.channels)
            yield detour_site(one.value, partial(_reread, shape=shape, perm=(0, 3, 1, 2)))


@fault(FAMILY, story="a permutation is inverted or mistyped, and the shapes happen to fit")
def permutation_wrong(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Transpose"):
        sizes = known_sizes(draft, node.input[0])
        perm = list(attribute(node, "perm", []))
        if sizes is None or len(perm) < 3 or perm[0] != 0 or not is_float(draft, node.input[0]):
            continue
        if not places_matter(draft, node.output[0]):
            continue
        for one in range(1, len(perm)):
            two = next((p for p in range(one + 1, len(perm)) if _alike(sizes, perm, one, p)), None)
            if two is not None:
                wrong = list(perm)
                wrong[one], wrong[two] = wrong[two], wrong[one]
                yield Site(node.name, partial(_set_perm, node=node.name, perm=wrong), (node.name,))
                break


@fault(
    FAMILY,
    story="reshape is written for permute: the shape is right, the order is not",
    link="https://github.com/PINTO0309/onnx2tf/issues/193",
)
def reshape_for_transpose(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Transpose"):
        made = known_sizes(draft, node.output[0])
        sizes = known_sizes(draft, node.input[0])
        if made and sizes and np.count_nonzero(np.array(sizes) > 1) > 1 and made != sizes:
            yield replace_site(node.name, partial(_reshaped, shape=(-1, *made)))


def _from_ohwi(kernel: Array) -> Array:
    return kernel.transpose(0, 2, 3, 1).reshape(kernel.shape)


def _from_hwio(kernel: Array) -> Array:
    return kernel.transpose(2, 3, 1, 0).reshape(kernel.shape)


def _alike(sizes: tuple[int, ...], perm: list[int], one: int, two: int) -> bool:
    return sizes[perm[one] - 1] == sizes[perm[two] - 1] > 1


def _permuted(patch: Patch, value: str, *, perm: tuple[int, ...]) -> str:
    return patch.add("Transpose", value, perm=list(perm))


def _gathered(patch: Patch, value: str, *, order: tuple[int, ...], axis: int) -> str:
    return patch.add("Gather", value, patch.constant(np.array(order), np.int64), axis=axis)


def _reshaped(patch: Patch, value: str, *, shape: tuple[int, ...]) -> str:
    return patch.add("Reshape", value, patch.constant(np.array(shape), np.int64))


def _reread(patch: Patch, value: str, *, shape: tuple[int, ...], perm: tuple[int, ...]) -> str:
    return _permuted(patch, _reshaped(patch, value, shape=shape), perm=perm)


def _set_perm(mutant: Mutant, *, node: str, perm: list[int]) -> None:
    set_attribute(mutant.node(node), "perm", perm)


def _flip_flag(mutant: Mutant, *, node: str) -> None:
    gemm = mutant.node(node)
    flag = attribute(gemm, "transB", 0)
    set_attribute(gemm, "transB", 1 - flag)
    weight = mutant.array(gemm.input[1])
    name = f"{gemm.input[1]}__reshaped"
    gemm.input[1] = mutant.add_array(name, weight.reshape(weight.shape[::-1]))
