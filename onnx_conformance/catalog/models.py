"""The registered models. Importing this package imports no framework.

A model is one function decorated with :func:`register_model`; the function runs in the
worker's process and imports its framework there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from onnx_conformance.core.carries import carry_problem
from onnx_conformance.core.custom_operators import operators_of
from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.registry import Registry
from onnx_conformance.core.spec import Axes, Axis, ModelSpec, Preprocessing, TensorSpec

MODELS: Registry[ModelSpec] = Registry("model")

Builder = Callable[..., Any]
B = TypeVar("B", bound=Builder)
Sizes = Axis | tuple[int, int] | tuple[int, int, int]


@dataclass(frozen=True)
class Declaration:
    """A builder in a user's file, with its decorator's arguments; what they omit is inferred.

    Args:
        outputs: a name alone where dtype and shape are to be found out.
        examples: arrays from which the inputs' specs are inferred, by name or in order.
        oracle: None to find out whether the model works in float64.
        carries: None where the names tell.
    """

    name: str
    builder: Builder
    framework: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec | str, ...] = ()
    examples: Any = None
    axes: Axes = ()
    calibrate: bool = False
    oracle: bool = True
    labels: bool = False
    preprocessing: Preprocessing | None = None
    task: str = ""
    carries: tuple[tuple[str, str], ...] | None = None


# In a builder's reference, before the name under which a user's file registers it.
REGISTERED = "registered model "
_DECLARED: list[list[Declaration]] = []
# What was registered without all that a run needs, by a file that no run looked at so far.
_INCOMPLETE: set[str] = set()


@contextmanager
def declaring() -> Iterator[list[Declaration]]:
    """Collect what is registered meanwhile. A user's file may omit what this suite's may not."""
    _DECLARED.append([])
    try:
        yield _DECLARED[-1]
    finally:
        _DECLARED.pop()


def register_model(
    name: str,
    *,
    framework: str | None = None,
    inputs: TensorSpec | Iterable[TensorSpec] = (),
    outputs: TensorSpec | Iterable[TensorSpec | str] = (),
    examples: Any = None,
    axes: Mapping[str, Sizes] | None = None,
    calibrate: bool = False,
    oracle: bool = True,
    trained: bool = False,
    labels: bool = False,
    preprocessing: Preprocessing | None = None,
    packages: tuple[str, ...] = (),
    task: str = "",
    on_request: bool = False,
    carries: Mapping[str, str] | None = None,
) -> Callable[[B], B]:
    """Register the decorated function as the builder of model ``name``.

    It returns a ``torch.nn.Module``, a ``keras.Model``, or a plain callable from arrays to arrays.

    Args:
        framework: where omitted, found by building the model.
        outputs: where omitted, found by running the model; a name alone leaves dtype and shape to
            be found.
        inputs: in the order in which the model takes them.
        examples: instead of ``inputs``, a dict or sequence of arrays to infer them from, or a list
            of these in several sizes, which show which axes vary.
        axes: sizes of symbolic axes other than the batch: ``{"sequence": (1, 128)}``, with an
            optional third number for the step. An axis that is omitted takes 1 to 24.
        calibrate: replace the weights of a user's model by random ones that keep its outputs alive.
        oracle: False for a model that cannot be computed in float64; verdicts then rest on
            allclose, and say so.
        carries: outputs that are inputs of the next call: ``{"present_key": "past_key"}``. Left
            out, names that pair up tell; ``{}`` for none.
        trained, packages, labels, preprocessing, task, on_request: see
        :class:`onnx_conformance.core.spec.ModelSpec`.

    A file that is imported where no run looks at it may omit them all: a run that is to judge the
    model says what is lacking.

    Raises:
        UsageError: the name is registered already, an input or output is no spec, or an output
        cannot be carried to its input.
    """
    known = axes_from(axes)
    declared = _specs(name, "inputs", inputs)
    delivered = _specs(name, "outputs", outputs, names=True)
    specified = tuple(one for one in delivered if isinstance(one, TensorSpec))
    pairs = None if carries is None else tuple(carries.items())

    def decorate(builder: B) -> B:
        if _DECLARED:
            found = Declaration(
                name, builder, framework, declared, delivered, examples, known, calibrate, oracle,
                labels, preprocessing, task, pairs,
            )  # fmt: skip
            _DECLARED[-1].append(found)
            return builder
        if framework is None or not declared or not delivered or specified != delivered:
            _INCOMPLETE.add(name)  # whoever imports the file for its classes needs no more
            return builder
        if problem := carry_problem(declared, specified, pairs or ()):
            raise UsageError(f"model '{name}': {problem}")
        spec = ModelSpec(
            name=name,
            framework=framework,
            inputs=declared,
            outputs=specified,
            builder=f"{builder.__module__}:{builder.__qualname__}",
            trained=trained,
            labels=labels,
            preprocessing=preprocessing,
            packages=packages,
            axes=known,
            oracle=oracle,
            task=task,
            libraries=operators_of(builder).libraries,
            on_request=on_request,
            carries=pairs or (),
        )
        MODELS.register(name, spec)
        return builder

    return decorate


def _specs(name: str, side: str, given: Any, *, names: bool = False) -> tuple[Any, ...]:
    """What a declaration lists, of which each is a spec, or a name where ``names`` allows it."""
    listed = (given,) if isinstance(given, TensorSpec | str) else tuple(given)
    for one in listed:
        if not isinstance(one, TensorSpec) and not (names and isinstance(one, str)):
            shown = one if isinstance(one, str) else "x"
            raise UsageError(
                f"model '{name}': {side}= holds {one!r}; write "
                f'{side}=[TensorSpec("{shown}", ("batch", 16))] with the sizes of one sample'
            )
    return listed


def registered_models() -> list[ModelSpec]:
    """All models that this process registered.

    Raises:
        UsageError: one of them lacks what a run needs.
    """
    for name in sorted(_INCOMPLETE):
        _refuse_incomplete(name)
    return [*MODELS.values()]


def _refuse_incomplete(name: str) -> None:
    if name in _INCOMPLETE and name not in MODELS:
        raise UsageError(
            f"model '{name}' lacks framework, inputs or outputs; add them to @register_model, or "
            "name its file (--models-from) to have them found"
        )


def axes_from(axes: Mapping[str, Sizes] | None) -> Axes:
    """The symbolic axes of ``{"sequence": (1, 128)}``; a third number is the step."""
    return tuple(
        (name, sizes if isinstance(sizes, Axis) else Axis(*sizes))
        for name, sizes in (axes or {}).items()
    )


def _torchvision_classifier(name: str, member: str) -> ModelSpec:
    """The spec of torchvision's classifier ``member``, ImageNet-sized, known as ``name``."""
    return ModelSpec(
        name=name,
        framework="torch",
        inputs=(TensorSpec("input", ("batch_size", 3, 224, 224)),),
        outputs=(TensorSpec("output", ("batch_size", 1000)),),
        builder=TORCHVISION,
        arguments=(member,),
        labels=True,
    )


def resolve_model(name: str) -> ModelSpec:
    """The spec of a registered model, or of ``torchvision:NAME``."""
    pool, _, member = name.partition(":")
    if member and pool == "torchvision" and name not in MODELS:
        return _torchvision_classifier(name, member)
    _refuse_incomplete(name)
    if name not in MODELS:
        known = "".join(f"{one}, " for one in sorted(MODELS))
        raise UsageError(
            f"unknown model '{name}'; known: {known}torchvision:NAME, timm:NAME, keras:NAME, "
            "hf-tiny:CLASS, hf:FOLDER, module:function, file.py:function"
        )
    return MODELS[name]


_TORCH_ZOO = "onnx_conformance.workers.torch.zoo"
TORCHVISION = f"{_TORCH_ZOO}:torchvision_classifier"


@dataclass(frozen=True)
class Zoo:
    """Models whose inputs are found by building them; torchvision's classifiers need no building.

    Args:
        pool: the part of their pointers before the colon.
        builder: ``module:function``, called with the model's name.
        members: a pattern that their names match.
        calibrate: whether their weights are replaced by random ones that keep outputs alive.
    """

    pool: str
    builder: str
    members: str = ".*"
    calibrate: bool = True


_TRANSFORMERS = "onnx_conformance.workers.torch.transformers_models"
ZOOS = (
    Zoo("timm", f"{_TORCH_ZOO}:timm_classifier"),
    Zoo("hf-tiny", f"{_TRANSFORMERS}:tiny_model", calibrate=False),
    Zoo("hf", f"{_TRANSFORMERS}:stored_model", calibrate=False),
    Zoo("keras", "onnx_conformance.workers.keras.zoo:keras_application"),
    Zoo("torchvision", f"{_TORCH_ZOO}:segmentation_model", r"(fcn|deeplabv3|lraspp)_\w+"),
    Zoo("torchvision", f"{_TORCH_ZOO}:video_model", r"(r3d|mc3|r2plus1d|s3d|mvit|swin3d)\w*"),
    Zoo(
        "torchvision",
        f"{_TORCH_ZOO}:detection_model",
        r"(\w+rcnn|retinanet|fcos|ssd300|ssdlite320)_\w+",
        calibrate=False,
    ),
)


def zoo_of(pool: str, member: str) -> Zoo | None:
    """A pointer's zoo; None where it names a module, a file or a torchvision classifier."""
    found = (zoo for zoo in ZOOS if zoo.pool == pool and re.fullmatch(zoo.members, member))
    return next(found, None)


@dataclass(frozen=True)
class Pointer:
    """``pool:member``: a zoo and a model of it, a module or file and a function of it.

    Args:
        name: the model's name in ids and reports.
    """

    name: str
    pool: str
    member: str


def read_pointer(text: str) -> Pointer | None:
    """The pointer that a model's name is, or None for a plain name."""
    pool, colon, member = text.rpartition(":")
    if not colon or not pool or not member:
        return None
    if pool == "torchvision" and zoo_of(pool, member) is None:
        return None
    if pool.endswith(".py"):
        return Pointer(f"{Path(pool).name}:{member}", str(Path(pool).absolute()), member)
    if pool == "hf" and Path(member.partition(",")[0]).is_dir():
        return Pointer(f"hf:{Path(member).name}", pool, str(Path(member).absolute()))
    return Pointer(text, pool, member)


def no_pretrained(model: str) -> NoReturn:
    """Skip ``model``, which has no pretrained weights, rather than judge it with others."""
    raise CapabilityMissing(f"{model} has no pretrained weights; use --weights calibrated")
