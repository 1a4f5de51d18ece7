"""Domains: which values an input may take. A recipe draws within them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.errors import UsageError


@dataclass(frozen=True)
class Draw:
    """The random numbers and sizes from which a domain draws.

    Args:
        distribution: of the recipe (:data:`onnx_conformance.inputs.recipes.DISTRIBUTIONS`).
        values: float64 numbers of that distribution, scaled, of the input's shape.
        rng: for domains that the numbers do not serve.
        sizes: the symbolic axes' sizes.
        inputs: the inputs drawn before this one.
        block: of the distribution ``every``, which inputs this is of those that share a range.
    """

    distribution: str
    values: NDArray[np.float64]
    rng: np.random.Generator
    sizes: Mapping[str, int]
    inputs: Mapping[str, Array]
    block: int = 0

    def earlier(self, name: str, asked_by: str) -> Array:
        """An input drawn before this one.

        Raises:
            UsageError: there is none of that name.
        """
        if name not in self.inputs:
            known = ", ".join(self.inputs) or "none"
            raise UsageError(
                f"{asked_by}: no input of that name comes before it; before it come: {known}"
            )
        return self.inputs[name]


@dataclass(frozen=True)
class Domain:
    """The values that an input may take.

    ``real`` says whether every number is in it, denormals, infinities and NaN too.
    """

    real: ClassVar[bool] = False

    def draw(self, draw: Draw) -> Array:
        """An array of the shape of ``draw.values``, still to be cast to the input's dtype."""
        raise NotImplementedError


@dataclass(frozen=True)
class Real(Domain):
    """Every floating number."""

    real: ClassVar[bool] = True

    def draw(self, draw: Draw) -> Array:
        return draw.values


BYTES = ("uint8", "int8")
SPREAD = ("normal", "uniform", "image")
WIDEST_RANGE = (
    64.0  # a quarter of a byte's range; a range of millions says what may be, not what is
)


@dataclass(frozen=True)
class Bounded(Domain):
    """Numbers from ``low`` to ``high``, such as pixels of 0 to 1: others are mirrored inside.

    Random numbers are spread over a wide range, such as bytes of 0 to 255.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UsageError(f"{self}: low must lie below high")

    def draw(self, draw: Draw) -> Array:
        width = self.high - self.low
        spread = min(max(1.0, width / 4), WIDEST_RANGE) if draw.distribution in SPREAD else 1.0
        folded = np.mod(spread * draw.values - self.low, 2 * width)
        return self.low + np.where(folded > width, 2 * width - folded, folded)


@dataclass(frozen=True)
class Integers(Domain):
    """Whole numbers from ``low`` on, without ``high``, as in ``range``: token ids, categories.

    ``Integers(0, 500)`` gives 0 to 499: the ids of an Embedding of 500 rows.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UsageError(f"{self}: low must lie below high, which is excluded")

    def draw(self, draw: Draw) -> Array:
        shape = draw.values.shape
        if draw.distribution == "zeros":
            return np.full(shape, self.low)
        if draw.distribution == "ones":
            return np.full(shape, self.high - 1)
        if draw.distribution == "every":
            count = int(np.prod(shape))
            first = draw.block * count  # each set of inputs goes on where the one before ended
            return self.low + ((first + np.arange(count)) % (self.high - self.low)).reshape(shape)
        return draw.rng.integers(self.low, self.high, size=shape)


@dataclass(frozen=True)
class Choice(Domain):
    """One of some numbers, or of some texts."""

    values: tuple[float | str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise UsageError("Choice needs at least one value")

    def draw(self, draw: Draw) -> Array:
        places = Integers(0, len(self.values)).draw(draw)
        return np.asarray(self.values)[places]


@dataclass(frozen=True)
class Lengths(Domain):
    """How much of a symbolic axis each sample uses: from ``low`` to the axis' size."""

    axis: str
    low: int = 1

    def draw(self, draw: Draw) -> Array:
        if self.axis not in draw.sizes:
            known = ", ".join(draw.sizes) or "none"
            raise UsageError(f"Lengths('{self.axis}'): no such symbolic axis; known: {known}")
        size = draw.sizes[self.axis]
        return Integers(min(self.low, size), size + 1).draw(draw)


@dataclass(frozen=True)
class Mask(Domain):
    """Ones, then zeros, along the last axis; the first place is always one.

    Args:
        lengths: the input that says how many ones each sample has; drawn without it.
        side: where the zeros are: ``right``, or ``left`` as decoders are fed in batches, where the
            last place is always one.
    """

    lengths: str = ""
    side: str = "right"

    def __post_init__(self) -> None:
        if self.side not in ("left", "right"):
            raise UsageError(f"Mask(side='{self.side}'): left or right is wanted")

    def draw(self, draw: Draw) -> Array:
        shape = draw.values.shape
        if self.lengths:
            counts = draw.earlier(self.lengths, f"Mask(lengths='{self.lengths}')")
            counts = counts.reshape((*shape[:1], *[1] * (len(shape) - 1)))
        else:
            counts = draw.rng.integers(min(1, shape[-1]), shape[-1] + 1, size=(*shape[:-1], 1))
            if draw.distribution in ("zeros", "ones"):
                counts[:] = shape[-1] if draw.distribution == "ones" else 1
        places = np.arange(shape[-1])
        places = places[::-1] if self.side == "left" else places
        return np.broadcast_to(places < counts, shape)


@dataclass(frozen=True)
class AtMost(Domain):
    """Whole numbers from ``low`` to what another input has in the same place."""

    other: str
    low: int = 0

    def draw(self, draw: Draw) -> Array:
        others = draw.earlier(self.other, f"AtMost('{self.other}')")
        bound = np.broadcast_to(others, draw.values.shape)
        drawn: Array = draw.rng.integers(self.low, np.maximum(bound, self.low) + 1)
        return drawn


def written(domain: Domain) -> str:
    """The domain as it is written in a registration: ``Integers(0, 9)``, ``Mask(side='left')``."""
    parts, skipped = [], False
    for one in fields(domain):
        value = getattr(domain, one.name)
        if value == one.default:
            skipped = True
        else:
            parts.append(f"{one.name}={value!r}" if skipped else repr(value))
    return f"{type(domain).__name__}({', '.join(parts)})"


def every_byte(dtype: str) -> Domain | None:
    """Every value of a byte as whole numbers, which says no more than a byte's default does."""
    if dtype not in BYTES:
        return None
    known = np.iinfo(dtype)
    return Integers(int(known.min), int(known.max) + 1)


def default_domain(dtype: str) -> Domain | None:
    """The domain of an input that names none; None for whole numbers, whose range is unknown.

    Of bytes it is known: they are pixels, bright and dark as those of floating numbers are.
    """
    if dtype == "bool":
        return Choice((0, 1))
    if dtype in BYTES:
        known = np.iinfo(dtype)
        return Bounded(int(known.min), int(known.max))
    return Real() if np.issubdtype(np.dtype(dtype), np.floating) else None
