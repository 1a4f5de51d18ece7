"""Discrete Fourier transforms of a torch replica, computed as their definition says, in float32.

torch takes the turns of the unit circle from tables of float64. A runtime may compute them in
float32 as it goes, and err by an epsilon of the angle (docs/numerics.md): of one turn where the
length is a power of 2, else of as many half turns as there are numbers, at every frequency alike,
because such lengths are computed by Bluestein's chirps (1970):

    n k = (n^2 + k^2 - (k - n)^2) / 2,   w^(n k) = chirp(n) chirp(k) / chirp(k - n)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
LONGEST_TRANSFORM = 2048  # numbers; the definition of longer ones costs more than the model


def _turns(length: int, *, forward: bool) -> Tensor:
    """The matrix of the transform, (length, length) complex64, by angles in float32."""
    index = torch.arange(length, dtype=torch.float32)
    half_turn = (-1 if forward else 1) * math.pi
    if length & (length - 1) == 0:
        products = torch.remainder(torch.outer(index, index), length)
        return _circle(products * torch.tensor(2 * half_turn / length))
    angles = torch.tensor(half_turn) * index * index / length  # rounded as ONNX Runtime does
    chirp, distance = _circle(angles), (index[:, None] - index).abs().long()
    return chirp[:, None] * chirp * _circle(-angles)[distance]


def _circle(angles: Tensor) -> Tensor:
    return torch.complex(angles.cos(), angles.sin())


def _along(x: Tensor, dim: int, *, forward: bool) -> Tensor:
    turned = x.movedim(dim, -1) @ _turns(x.shape[dim], forward=forward)
    return turned.movedim(-1, dim)


def _share(x: Tensor, lengths: Sequence[int], normalization: int) -> Tensor:
    """By 1, by the root of the number of terms, or by it."""
    return x / (1.0, math.sqrt(math.prod(lengths)), math.prod(lengths))[normalization]


def _complex(x: Tensor, dims: Sequence[int], normalization: int, forward: bool) -> Tensor | None:
    lengths = [x.shape[dim] for dim in dims]
    if not x.numel() or max(lengths, default=0) > LONGEST_TRANSFORM:
        return None
    result = x.to(torch.complex64)
    for dim in dims:
        result = _along(result, dim, forward=forward)
    return _share(result, lengths, normalization)


def _from_real(x: Tensor, dims: Sequence[int], normalization: int, onesided: bool) -> Tensor | None:
    whole = _complex(x, dims, normalization, True)
    if whole is None or not onesided:
        return whole
    return whole.narrow(dims[-1], 0, x.shape[dims[-1]] // 2 + 1)


def _to_real(x: Tensor, dims: Sequence[int], normalization: int, length: int) -> Tensor | None:
    *others, last = dims
    if not x.numel() or length > LONGEST_TRANSFORM or x.shape[last] != length // 2 + 1:
        return None
    rest = _complex(x, others, 0, False)
    if rest is None:
        return None
    mirrored = rest.narrow(last, 1, length - x.shape[last]).flip(last).conj()
    whole = _along(torch.cat([rest, mirrored], last), last, forward=False)
    return _share(whole.real, [*(x.shape[dim] for dim in others), length], normalization)


# Operator -> the same by its definition; None where it is left as it is.
TRANSFORMS: dict[str, Callable[..., Any]] = {
    "_fft_c2c": _complex,
    "_fft_c2r": _to_real,
    "_fft_r2c": _from_real,
}
# Operators that hide these while no gradients are recorded.
COMPOSED = {
    *(f"fft_{name}" for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")),
    *(f"fft_{name}" for name in ("fft2", "ifft2", "rfft2", "irfft2")),
    *(f"fft_{name}" for name in ("fftn", "ifftn", "rfftn", "irfftn")),
    "istft",
    "stft",
}
