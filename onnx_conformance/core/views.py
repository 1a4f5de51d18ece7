"""The views of an output that are compared: its values, those beside masked ones, logarithms.

An error is measured in a norm over a sample. Logits beside masked ones of -1e9 would not be seen
there, and are compared by themselves as well, relative to 1 or to their size where that is more.
Other numbers that are far smaller than their neighbours may have come out of a difference, or of a
function that saturates, and have errors of the size of what they came from: they are not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.spec import TensorSpec

Rows = NDArray[np.float64]
UNMASKED = "values beside masked ones"
LOGARITHMS = "logarithms"
BINADES = 10  # empty powers of two between masked numbers and the others
LEAST_MASK = 1024.0  # of the magnitude of masked numbers
SPREAD = 1e-3  # of masked numbers among themselves: a mask may be added to a number
FEWEST = 4  # numbers that are judged by themselves: errors of fewer vary too much
SMALLEST_PROBABILITY = 1e-30  # below it the logarithm would judge float32's underflow


def views(
    wanted: Array, got: Array, spec: TensorSpec, *, many: bool = False
) -> Iterator[tuple[str, Rows, Rows]]:
    """(view, wanted, got) of one output, a row a sample: values; of probabilities logarithms.

    Args:
        many: as of :func:`masked_from`.
    """
    rows = wanted.shape[0]
    pair = [np.asarray(side, np.float64).reshape(rows, -1) for side in (wanted, got)]
    exact, found = _finite(*pair)
    yield "values", exact, found
    below = masked_from(exact, many=many)
    if below.any():
        kept = np.abs(exact) < below[:, None]
        yield UNMASKED, np.where(kept, exact, 0.0), np.where(kept, found, 0.0)
    if spec.scale == "probabilities":
        logs = [np.log(np.maximum(side, SMALLEST_PROBABILITY)) for side in pair]
        yield LOGARITHMS, logs[0], logs[1]


def _finite(wanted: Rows, got: Rows) -> tuple[Rows, Rows]:
    """Both with 0 where the wanted number is not finite: no error if ``got`` is the same."""
    odd = ~np.isfinite(wanted)
    if not odd.any():
        return wanted, got
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    return np.where(odd, 0.0, wanted), np.where(odd, np.where(same, 0.0, np.inf), got)


def masked_from(exact: Rows, *, many: bool = False) -> Rows:
    """Of each sample, from which magnitude on its numbers are masked ones; 0 where none are.

    Masked numbers are large, equal among themselves, and :data:`BINADES` powers of two above all
    others. Samples of fewer than :data:`FEWEST` others count where one number masks all of these
    samples, and they hold so many together: a large number that varies may be a quantity.

    Args:
        many: whether the noise floor is taken of so many samples that few others count in any case,
            such as a rate beside a price.
    """
    below = np.zeros(len(exact))
    largest = np.maximum(exact.max(axis=1, initial=0.0), -exact.min(axis=1, initial=0.0))
    some = largest >= LEAST_MASK
    if not some.any():
        return below
    sizes = np.abs(exact[some])
    masks = sizes >= largest[some, None] * (1.0 - SPREAD)
    others = ~masks & (sizes > 0)
    _, powers = np.frexp(sizes)
    highest = np.where(others, powers, powers.min()).max(axis=1)
    gaps = np.where(masks, powers, powers.max()).min(axis=1) - highest
    least = np.where(masks, sizes, np.inf).min(axis=1)
    counts = others.sum(axis=1)
    is_mask = (least >= LEAST_MASK) & (gaps > BINADES) & (counts > 0)
    few = is_mask & (counts < FEWEST)
    fills = largest[some][few]
    varies = not many and fills.min(initial=np.inf) < fills.max(initial=0.0) * (1.0 - SPREAD)
    if varies or counts[few].sum() < FEWEST:
        is_mask &= ~few
    below[some] = np.where(is_mask, np.ldexp(1.0, highest), 0.0)
    return below
