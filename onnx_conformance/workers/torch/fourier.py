"""Discrete Fourier transforms of a torch replica, computed in float32 as runtimes do.

torch takes the turns of the unit circle from tables of float64. A runtime may compute them in
float32 as it goes, and err by an epsilon of the angle (docs/numerics.md): of one turn where the
length is a power of 2, else of as many half turns as there are numbers, at every frequency alike,
because such lengths are computed by Bluestein's chirps (1970), as a convolution:

    n k = (n^2 + k^2 - (k - n)^2) / 2,   w^(n k) = chirp(n) chirp(k) / chirp(k - n)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
LONGEST_MATRIX = 2048  # numbers; the definition of longer powers of 2 costs more than the model


def _turns(length: int, half_turn: float) -> Tensor:
    """The matrix of the transform, (length, length) complex64, by angles in float32."""
    index = torch.arange(length, dtype=torch.float32)
    products = torch.remainder(torch.outer(index, index), length)
    return _circle(products * torch.tensor(2 * half_turn / length))


def _by_chirps(x: Tensor, half_turn: float) -> Tensor:
    """The transform of the last axis, of any length, by angles that are rounded as there."""
    length = x.shape[-1]
    index = torch.arange(length, dtype=torch.float32)
    angles = torch.tensor(half_turn) * index * index / length  # in ONNX Runtime's order
    padded = 1 << (2 * length - 2).bit_length()  # at least 2 length - 1
    kernel = torch.zeros(padded, dtype=torch.complex64)
    kernel[:length] = _circle(-angles)
    kernel[padded - length + 1 :] = _circle(-angles)[1:].flip(0)
    chirp = _circle(angles)
    products = torch.fft.fft(x * chirp, padded) * torch.fft.fft(kernel)
    convolved: Tensor = torch.fft.ifft(products)[..., :length]
    return convolved * chirp


def _circle(angles: Tensor) -> Tensor:
    return torch.complex(angles.cos(), angles.sin())


def _is_power_of_2(length: int) -> bool:
    """Whether a length is transformed by its definition, not by chirps."""
    return length & (length - 1) == 0


def _along(x: Tensor, dim: int, *, forward: bool) -> Tensor:
    half_turn = -math.pi if forward else math.pi
    last = x.movedim(dim, -1)
    length = last.shape[-1]
    turned = (
        last @ _turns(length, half_turn) if _is_power_of_2(length) else _by_chirps(last, half_turn)
    )
    return turned.movedim(-1, dim)


def _too_long(lengths: Sequence[int]) -> bool:
    return any(_is_power_of_2(length) and length > LONGEST_MATRIX for length in lengths)


def _share(x: Tensor, lengths: Sequence[int], normalization: int) -> Tensor:
    """By 1, by the root of the number of terms, or by it."""
    return x / (1.0, math.sqrt(math.prod(lengths)), math.prod(lengths))[normalization]


def _complex(x: Tensor, dims: Sequence[int], normalization: int, forward: bool) -> Tensor | None:
    lengths = [x.shape[dim] for dim in dims]
    if not x.numel() or _too_long(lengths):
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
    if not x.numel() or _too_long([length]) or x.shape[last] != length // 2 + 1:
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
