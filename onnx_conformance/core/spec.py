"""Specs of models and of their inputs and outputs, as frozen records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from onnx_conformance.core import bfloat16
from onnx_conformance.core.arrays import as_text, is_array_as_text
from onnx_conformance.core.domains import (
    Domain,
    Real,
    default_domain,
    every_byte,
    written,
)
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.plain_outputs import SPELLINGS, TEXT
from onnx_conformance.core.size_expressions import evaluate
from onnx_conformance.core.text import resembling

Dim = int | str
Shape = tuple[Dim, ...]
MIDDLE = 0.5  # extent of symbolic axes, where nothing else is said
DTYPES = (
    *("float32", "float64", "float16", bfloat16.NAME, "bool", "str"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)  # those that a misspelt one may have meant
BATCH_NAMES = ("batch", "batch_size")
STATIC_BATCH = 2  # of the example that routes trace, and of an artifact without dynamic batch


@dataclass(frozen=True)
class Axis:
    """The sizes of a symbolic axis: ``low``, ``low + step``, … up to ``high``.

    A U-Net that halves its image four times has ``step=16``. ``low`` is 0 of a past that begins
    empty, else at least 1.
    """

    low: int = 1
    high: int = 24
    step: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high and self.high >= 1 and self.step >= 1):
            raise UsageError(f"{self}: 0 ≤ low ≤ high, high ≥ 1 and step ≥ 1 are wanted")

    def size(self, extent: float) -> int:
        """The size at a share ``extent`` (0 to 1) between ``low`` and ``high``."""
        steps = (self.high - self.low) // self.step
        return self.low + self.step * round(extent * steps)


Axes = tuple[tuple[str, Axis], ...]


def sizes_of(axes: Axes, extent: float) -> dict[str, int]:
    """The symbolic axes' sizes by name; each of several axes another, so that a swap shows.

    Later axes are smaller than the first in the upper half and larger in the lower one: a model
    that cuts one axis to another's size is wrong in either.
    """
    return {
        name: axis.size(
            extent ** (1 + place) if extent >= MIDDLE else 1.0 - (1.0 - extent) ** (1 + place)
        )
        for place, (name, axis) in enumerate(axes)
    }


@dataclass(frozen=True)
class TensorSpec:
    """A model's input or output.

    Args:
        name: the name a faithful artifact gives it, where its exporter can set names.
        shape: sizes; a string is a symbolic dimension. The one called ``batch`` (or
            ``batch_size``) is the batch, wherever it stands; without it samples share the input.
            A size may follow from others: ``"past+1"``, ``"2*height"``, ``"height//8"``.
        dtype: a NumPy dtype name, or ``bfloat16``; ``str`` of text, whose ``domain`` is a
            ``Choice`` of texts.
        scale: ``"linear"``, or ``"probabilities"`` for an output that is a softmax; such an
            output is judged in the log domain as well, because a flat softmax hides errors.
            ``"unit"`` for an output whose natural size is 1 and that may be near 0 throughout:
            errors are then relative to 1, or to the output where it is larger.
        domain: which values an input may take; every number unless said otherwise. Whole numbers
            need one: ``Integers(0, 30_000)``, ``Mask()``.
        initial: of a state that is carried from call to call, what the first call gets: a number
            for all of it, or the array of one sample, with or without its batch axis. Zeros, or an
            empty past, where left out. Kept as text (:func:`onnx_conformance.core.arrays.as_text`).
    """

    name: str
    shape: Shape
    dtype: str = "float32"
    scale: Literal["linear", "probabilities", "unit"] = "linear"
    domain: Domain = field(default_factory=Real)
    initial: Any = None

    def __post_init__(self) -> None:
        self._check_arguments()
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "dtype", _dtype_name(self.dtype))
        try:
            if self.dtype not in (TEXT, bfloat16.NAME):  # "float" is float64
                object.__setattr__(self, "dtype", np.dtype(self.dtype).name)
        except TypeError as error:
            raise UsageError(
                f"'{self.name}' is {self.dtype}, which NumPy lacks"
                f"{resembling(self.dtype, DTYPES)}; if the model does take {self.dtype}, wrap it "
                "in one that casts it, and write "
                f'TensorSpec("{self.name}", {_quoted(self.shape)}, "float32")'
            ) from error
        if not self.floating and self.domain in (Real(), every_byte(self.dtype)):
            object.__setattr__(self, "domain", default_domain(self.dtype) or Real())
        if self.initial is not None and not is_array_as_text(self.initial):
            object.__setattr__(self, "initial", as_text(np.asarray(self.initial)))

    def _check_arguments(self) -> None:
        """Refuse a name, shape or domain of another type than is wanted."""
        shape: Any = self.shape  # what a caller wrote
        if not isinstance(self.name, str):
            raise UsageError(
                f"TensorSpec({self.name!r}, …) has no name; write the input's name before its "
                'shape: TensorSpec("x", ("batch", 16))'
            )
        if isinstance(shape, str) or not isinstance(shape, Iterable):
            raise UsageError(
                f"'{self.name}' has the shape {shape!r}; a shape is a tuple, such as "
                f'TensorSpec("{self.name}", ("batch", 16))'
            )
        if not isinstance(self.domain, Domain):
            raise UsageError(
                f"'{self.name}' has the domain {self.domain!r}; it is one of Integers(0, N) (the "
                "numbers 0 to N-1), Bounded(low, high), Choice((a, b)), Mask() and Lengths(axis), "
                "imported from onnx_conformance"
            )

    def __str__(self) -> str:
        """As it is written in a registration."""
        more = "" if self.dtype == "float32" else f', "{self.dtype}"'
        usual = default_domain(self.dtype) or Real()
        more += "" if self.domain == usual else f", domain={written(self.domain)}"
        more += "" if self.initial is None else ", initial=..."
        return f'TensorSpec("{self.name}", {_quoted(self.shape)}{more})'

    @property
    def floating(self) -> bool:
        """Whether it holds floating numbers; others are compared exactly."""
        return bool(np.issubdtype(np.dtype(self.held), np.floating))

    @property
    def held(self) -> str:
        """The NumPy dtype of its arrays: bfloat16 is held in float32."""
        return bfloat16.held_in(self.dtype)

    @property
    def real(self) -> bool:
        """Whether it may hold any floating number: denormals, infinities and NaN too."""
        return self.floating and self.domain.real

    @property
    def batch_axis(self) -> int | None:
        """Which axis is the batch; None where there is none."""
        found = (axis for axis, dim in enumerate(self.shape) if dim in BATCH_NAMES)
        return next(found, None)

    @property
    def sample(self) -> Shape:
        """The dimensions of one sample: those without the batch."""
        return tuple(dim for axis, dim in enumerate(self.shape) if axis != self.batch_axis)

    def concrete(self, batch: int, sizes: Mapping[str, int] | None = None) -> tuple[int, ...]:
        """The shape in the model's own layout, other symbolic axes of their ``sizes``."""
        return tuple(_size(dim, batch, sizes or {}) for dim in self.shape)

    def rows(self, batch: int, sizes: Mapping[str, int] | None = None) -> tuple[int, ...]:
        """The shape of ``batch`` samples, a row each, other symbolic axes of their ``sizes``."""
        return (batch, *(_size(dim, batch, sizes or {}) for dim in self.sample))


@dataclass(frozen=True)
class InputSpecs:
    """A model's inputs, the sizes of their symbolic axes, and notes on how they were found."""

    inputs: tuple[TensorSpec, ...]
    axes: Axes = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The registration that says the same, to paste."""
        text = f"inputs=[{', '.join(map(str, self.inputs))}]"
        ranges = {
            name: (one.low, one.high) if one.step == 1 else (one.low, one.high, one.step)
            for name, one in self.axes
        }
        return f"{text}, axes={ranges}" if ranges else text


def _quoted(shape: Shape) -> str:
    """The shape as this library writes texts: ``("batch", 3)``."""
    dims = [f'"{dim}"' if isinstance(dim, str) else str(dim) for dim in shape]
    return f"({', '.join(dims)}{',' if len(dims) == 1 else ''})"


def _dtype_name(dtype: Any) -> str:
    """A dtype's name: ``int64`` of ``"int64"``, ``np.int64`` and ``torch.int64``."""
    if dtype in SPELLINGS:
        return TEXT
    return dtype.__name__ if isinstance(dtype, type) else str(dtype).removeprefix("torch.")


def _size(dim: Dim, batch: int, sizes: Mapping[str, int]) -> int:
    """A dimension's size; that of an axis of unknown size is ``batch``."""
    if isinstance(dim, int):
        return dim
    known = evaluate(dim, sizes)
    return batch if known is None else known


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes a sample of the model's only input.

    The shorter side is resized to ``resize`` pixels (bilinear, the aspect kept), the middle
    ``crop`` × ``crop`` cut out, values scaled to 0..1, and ``mean`` subtracted and divided by
    ``std``, both red, green, blue.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class ModelSpec:
    """A model to certify: how it is built, its inputs and its outputs.

    Args:
        builder: ``module:function``; called in the worker's process as
            ``function(*arguments, pretrained=bool)``, it returns the native model.
        arguments: strings passed to the builder.
        trained: the builder's weights are trained ones that need no download; they are
            kept under ``--weights calibrated``.
        labels: the 1000 outputs are ImageNet's classes, so photographs have right answers.
        packages: distributions beside the framework's that shape it: their versions matter.
        preprocessing: how its weights expect photographs; None if they are of no use to it.
        axes: the sizes of symbolic axes other than the batch, by name.
        oracle: whether it can be computed in float64. Without, verdicts rest on allclose.
        task: the data on which it decides (:mod:`onnx_conformance.inputs.tasks`), for verdicts on
        int8.
        libraries: custom-operator libraries that its sessions load: a path, or
            ``module:function`` that gives one.
        on_request: of one purpose, so a run that names no model leaves it out.
        group: how many samples every call takes, where the model fixes its batch; 0 for any.
        by_values: names of the outputs whose size the values decide: boxes that are kept.
        unnamed: names of inputs and outputs that were made up, because neither spec nor model has
            any; a file that somebody else made may call them otherwise.
        computes: the class of precision that its own code multiplies in.
        exact: names of the float32 outputs that nothing in half precision reaches, as far as known.
        fingerprint: of a model from elsewhere, a digest of its code and of the weights it was
            built with; else its module's source tells.
        reads: of a model from elsewhere, the data files that its builder and its calls open, with
            their SHA-256.
        basis: of an ONNX file, one sentence on what a verdict against it rests on.
        kernels: of an ONNX file, the operators (``domain:type``) that ONNX Runtime's kernels
            compute in float64, because nothing else computes them rightly.
        notes: what a reader should know of its inputs, a line each.
        parameters: how many numbers its weights hold, without tables that are read by index, which
            tells what a run costs; 0 if unknown.
        carries: its memory: pairs of an output and the input that gets it at the next call.
    """

    name: str
    framework: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    builder: str
    arguments: tuple[str, ...] = ()
    trained: bool = False
    labels: bool = False
    preprocessing: Preprocessing | None = None
    packages: tuple[str, ...] = ()
    axes: Axes = ()
    oracle: bool = True
    task: str = ""
    libraries: tuple[str, ...] = ()
    on_request: bool = False
    fingerprint: str = ""
    reads: tuple[tuple[str, str], ...] = ()
    basis: str = ""
    kernels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    parameters: int = 0
    group: int = 0
    by_values: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    carries: tuple[tuple[str, str], ...] = ()
    computes: str = "float32"
    exact: tuple[str, ...] = ()

    @property
    def sized(self) -> tuple[str, ...]:
        """Names of the outputs whose sizes stand beside their rows.

        Those whose size the values are known to decide; of a model that is called for each
        sample all, lest a row of zeros too many be taken for what fills unlike sizes up.
        """
        return tuple(
            spec.name
            for spec in self.outputs
            if spec.name in self.by_values or (spec.shape and not self.batched)
        )

    @property
    def judged(self) -> tuple[TensorSpec, ...]:
        """The outputs, and the sizes of those that are ``sized``, as whole numbers."""
        sizes = [
            TensorSpec(
                size_of(spec.name),
                (*([] if spec.batch_axis is None else [BATCH_NAMES[0]]), len(spec.sample)),
                "int64",
            )
            for spec in self.outputs
            if spec.name in self.sized
        ]
        return (*self.outputs, *sizes)

    @property
    def of_a_sample(self) -> frozenset[str]:
        """Names of the answers that each sample has of its own; others are of a whole call."""
        return frozenset(
            spec.name for spec in self.judged if spec.batch_axis is not None or not self.batched
        )

    @property
    def precision(self) -> str:
        """The class of precision that the model asks for: of its outputs and of its products."""
        narrow = ("float16", "bfloat16")
        floating = [spec.dtype for spec in self.outputs if spec.dtype in narrow]
        return max(["float32", *floating, self.computes], key=("float32", *narrow).index)

    @property
    def original(self) -> str:
        """What messages call the model that files are compared with: a file by its name."""
        return f"'{self.name}'" if self.framework == "onnx" else f"native {self.framework}"

    @property
    def batched(self) -> bool:
        """Whether a call takes several samples: an input has a batch."""
        return any(spec.batch_axis is not None for spec in self.inputs)

    @property
    def open_batch(self) -> bool:
        """Whether a call takes any number of samples."""
        return self.batched and not self.group

    @property
    def loosely_typed(self) -> bool:
        """Whether an artifact may give an output's kind of numbers in another width.

        A plain callable computes as NumPy and scikit-learn do, in float64 whatever they are given.
        """
        wide = any(spec.dtype == "float64" for spec in self.inputs)
        return self.framework == "python" and not wide


def size_of(name: str) -> str:
    """What the sizes of an output are called among the answers."""
    return f"{name} (size)"
