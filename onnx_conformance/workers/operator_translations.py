"""Custom operators of a model for the export routes. Runs in the native worker's process.

Where a route lacks a translation, the export fails with one line that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnx_conformance.core.custom_operators import PAGE, CustomOperators, operators_of
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError, UsageError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.workers.server import load_object

WITHOUT_HANDLERS = ("tf2onnx_saved_model", "keras_export")  # a command line, and Keras' own
FROM_OPSET = 9  # a symbolic function serves the opsets from the one on that it is registered for
OPERATOR_NAME = re.compile(r"\b(?P<name>[A-Za-z_]\w*::\w+)")
ADDED_IN = re.compile(r"added in (?:opset )?version (?P<opset>\d+)")
TARGET = re.compile(r"op='(?P<space>\w+)\.(?P<name>\w+)', overload='(?P<overload>\w+)'")


class OptimisationFailed(RuntimeError):
    """An exporter's optimisation stopped at a graph that it had made itself."""


class MissingTranslation(ConformanceError):
    """A route met an operator that it cannot write; the message names it and what to add."""


def operators_in(model: ModelSpec) -> CustomOperators:
    """The custom operators of the model's builder."""
    return operators_of(load_object(model.builder), model.arguments)


def translation_table(operators: CustomOperators) -> dict[Any, Any] | None:
    """``custom_translation_table`` of ``torch.onnx.export``.

    Raises:
        UsageError: torch has no operator of a name.
    """
    return {_overload(name): found for name, found in operators.dynamo.items()} or None


def _overload(name: str) -> Any:
    import torch

    space, _, label = name.partition("::")
    plain, _, overload = label.partition(".")
    try:
        return getattr(getattr(getattr(torch.ops, space), plain), overload or "default")
    except AttributeError as error:
        raise UsageError(
            f'custom_operators(dynamo=...): torch has no operator "{name}"; define it with '
            "torch.library.custom_op before the model is built, under that name"
        ) from error


@contextmanager
def symbolics(operators: CustomOperators) -> Iterator[None]:
    """Register symbolic functions in this block; the registry is shared by the whole process."""
    from torch.onnx import utils

    registered = []
    try:
        for name, function in operators.torchscript.items():
            utils.register_custom_op_symbolic(name, function, FROM_OPSET)
            registered.append(name)
        yield
    finally:
        for name in registered:
            utils.unregister_custom_op_symbolic(name, FROM_OPSET)


@contextmanager
def translation_errors(route: str, argument: str) -> Iterator[None]:
    """Report an operator that torch cannot translate in one line.

    Raises:
        MissingTranslation: in place of torch's error, which is several pages long.
        OptimisationFailed: in place of one that names objects and no cause.
    """
    try:
        yield
    except Exception as error:
        name = _lacking(error)
        if name is None:
            failed = _failed_pass(error)
            if failed:
                raise OptimisationFailed(failed) from error
            raise
        since = _added_in(error)
        reason = _newer(route, name, since) if since else _remedy(route, name, argument)
        raise MissingTranslation(reason) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__


def _lacking(error: BaseException) -> str | None:
    """The operator that an error of torch's exporters says has no translation."""
    for one in _causes(error):
        kind, text = type(one).__name__, str(one)
        if kind == "UnsupportedOperatorError":
            found = OPERATOR_NAME.search(text)
            return found["name"] if found else None
        if kind == "DispatchError":
            target = TARGET.search(text)
            return _name(target) if target else None
    return None


def _failed_pass(error: BaseException) -> str:
    """What went wrong in torch_dynamo's optimisation; empty where the error is not of one.

    onnx_ir wraps it in an error for each pass that the pass ran in, which names objects alone.
    """
    if type(error).__name__ != "PassError":
        return ""
    named = ((type(one).__name__, one) for one in _causes(error))
    causes = ": ".join(f"{kind}: {one}" for kind, one in named if kind != "PassError")
    return (
        f"the exporter's optimisation of the graph failed: {causes or 'cause unknown'}; "
        "export by torch_torchscript, or by torch.onnx.export(..., optimize=False)"
    )


def _added_in(error: BaseException) -> str:
    """The opset from which the route can write the operator, where torch names one."""
    found = (ADDED_IN.search(str(one)) for one in _causes(error))
    return next((one["opset"] for one in found if one), "")


def _newer(route: str, name: str, opset: str) -> str:
    return (
        f'{route} writes the operator {name} from opset {opset} on (torch: "added in version '
        f'{opset}"); export at --opset {opset} or above'
    )


def _name(target: re.Match[str]) -> str:
    overload = "" if target["overload"] == "default" else f".{target['overload']}"
    return f"{target['space']}::{target['name']}{overload}"


def _remedy(route: str, name: str, argument: str) -> str:
    """What to write. Two of Keras' routes take no handlers: the others are named instead."""
    handler = f'@custom_operators({argument}={{"{name}": function}}) ({PAGE})'
    if route in WITHOUT_HANDLERS:
        return (
            f"{route} has no translation of the operator {name} and takes none from you; write "
            "that layer with other operators, or export by tf2onnx_keras or tf2onnx_function with "
            f"{handler}"
        )
    return f"{route} has no translation of the operator {name}; give it one, {handler}"


# -- tf2onnx ---------------------------------------------------------------------------------


def handlers(operators: CustomOperators) -> dict[str, Any]:
    """What ``tf2onnx.convert.from_keras`` and ``from_function`` take for custom operators."""
    if not operators.tf2onnx:
        return {}
    from onnx import helper

    opsets = [helper.make_opsetid(domain, n) for domain, n in operators.domains.items()]
    known: dict[str, Any] = {name: (handler, []) for name, handler in operators.tf2onnx.items()}
    return {"custom_op_handlers": known, "extra_opset": opsets or None}


def refuse_handlers(model: ModelSpec, route: str) -> None:
    """Raise CapabilityMissing if the model needs handlers, which ``route`` cannot take."""
    if operators_in(model).tf2onnx:
        raise CapabilityMissing(
            f"{route} takes no custom operator handlers; use tf2onnx_keras or tf2onnx_function"
        )


def refuse_unknown(path: Path, route: str) -> None:
    """Raise MissingTranslation if the file has an operator that ONNX lacks.

    tf2onnx logs what it cannot translate, leaves it in the file under TensorFlow's name, and
    calls that a success (https://github.com/onnx/tensorflow-onnx/issues/1981).
    """
    unknown = _unknown(path)
    if unknown:
        raise MissingTranslation(_remedy(route, unknown, "tf2onnx"))


def _unknown(path: Path) -> str | None:
    import onnx

    from onnx_conformance.core.onnx_file import every_graph

    model = onnx.load(path, load_external_data=False)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    defined = {(function.domain, function.name) for function in model.functions}
    for graph, _ in every_graph(model):
        for node in graph.node:
            plain = node.domain in ("", "ai.onnx") and (node.domain, node.op_type) not in defined
            if plain and not onnx.defs.has(node.op_type, versions.get(node.domain, 1), ""):
                return str(node.op_type)
    return None
