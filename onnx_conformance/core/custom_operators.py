"""Custom operators of a model: translations for its export, libraries for its session.

Nothing here imports a framework: functions are only kept, under the operators' names, until a
worker's process asks for them.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from onnx_conformance.core.errors import UsageError

PAGE = "docs/custom-operators.md"
ATTRIBUTE = "custom_operators"
B = TypeVar("B", bound=Callable[..., Any])
Functions = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class CustomOperators:
    """Translations of operators by their names, and libraries that run what stays custom.

    Args:
        dynamo: ``{"example::op": function}`` for torch_dynamo; called with onnxscript values. A
            name without overload means ``default``.
        torchscript: ``{"example::op": symbolic}`` for torch_torchscript, called as
            ``symbolic(g, *inputs)``; it serves every opset.
        tf2onnx: ``{"Op": handler}`` for TensorFlow operators, called as
            ``handler(ctx, node, name, args)``.
        libraries: custom-operator libraries for ONNX Runtime: a file's path, or
            ``module:function`` that gives the path (``onnxruntime_extensions:get_library_path``).
        domains: versions of the domains that tf2onnx handlers write: ``{"ai.onnx.contrib": 1}``.
    """

    dynamo: Functions = field(default_factory=dict)
    torchscript: Functions = field(default_factory=dict)
    tf2onnx: Functions = field(default_factory=dict)
    libraries: tuple[str, ...] = ()
    domains: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for route in ("dynamo", "torchscript"):
            for name in getattr(self, route):
                if not isinstance(name, str) or "::" not in name:
                    raise UsageError(
                        f"custom_operators({route}=...): {name!r} is not an operator's name; write "
                        '"namespace::name", as in torch.library.custom_op'
                    )


def custom_operators(
    *,
    dynamo: Functions | None = None,
    torchscript: Functions | None = None,
    tf2onnx: Functions | None = None,
    library: str | Path | Iterable[str | Path] = (),
    domains: Mapping[str, int] | None = None,
) -> Callable[[B], B]:
    """Give the decorated builder of a model the translations and libraries of its own operators.

    It stands beside ``@register_model``. Arguments: see :class:`CustomOperators`; ``library`` is
    one reference or several.

    Raises:
        UsageError: a torch operator whose name has no namespace.
    """
    several = (library,) if isinstance(library, (str, Path)) else library
    libraries = tuple(str(one) for one in several)
    found = CustomOperators(
        dynamo or {}, torchscript or {}, tf2onnx or {}, libraries, domains or {}
    )

    def decorate(builder: B) -> B:
        setattr(builder, ATTRIBUTE, found)
        return builder

    return decorate


def operators_of(builder: Callable[..., Any], arguments: Iterable[str] = ()) -> CustomOperators:
    """The custom operators of a builder; none for most.

    Args:
        arguments: of the builder, where one builder serves several models (those of ``certify``).
    """
    found = getattr(builder, ATTRIBUTE, None)
    if callable(found):
        found = found(*arguments)
    return found if isinstance(found, CustomOperators) else CustomOperators()


def library_problem(reference: str) -> str | None:
    """Why a library cannot be found, and what to do; None where it can. Nothing is imported."""
    if is_file(reference):
        if Path(reference).is_file():
            return None
        return (
            f"there is no custom-operator library {reference}; build it, or give its full "
            'path: str(Path(__file__).with_name("library.so"))'
        )
    package = reference.partition(":")[0].partition(".")[0]
    if importlib.util.find_spec(package) is not None:
        return None
    return (
        f"the custom-operator library {reference} is not installed; "
        f"pip install {package.replace('_', '-')}"
    )


def is_file(reference: str) -> bool:
    """Whether a reference is a path; else it is ``module:function``."""
    module, colon, function = reference.rpartition(":")
    return not (colon and function.isidentifier() and module.replace(".", "_").isidentifier())


def library_digest(reference: str) -> str:
    """The identity of a library: the file's SHA-256, or the package's version."""
    if is_file(reference):
        path = Path(reference)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    package = reference.partition(":")[0].partition(".")[0]
    owners = metadata.packages_distributions().get(package, [])
    return " ".join(f"{owner} {metadata.version(owner)}" for owner in sorted(set(owners)))
