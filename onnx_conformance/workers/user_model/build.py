"""Build what a user registers, by the framework that it turns out to be of."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.frameworks import FRAMEWORKS, Framework
from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.text import cause_of
from onnx_conformance.workers.built_model import BuiltModel, UserModels
from onnx_conformance.workers.import_code import line_of
from onnx_conformance.workers.native import call_builder
from onnx_conformance.workers.server import load_object


def build(declaration: Declaration, arguments: tuple[str, ...], weights: str, seed: int) -> Any:
    """What a registered function returns: the model, and examples or specs of its inputs.

    Raises:
        UsageError: the function raises.
    """
    for _, models in _imported():
        models.seed(seed)
    before = {framework.name: models.settings() for framework, models in _imported()}
    try:
        built = call_builder(declaration.builder, list(arguments), weights == "pretrained")
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"model '{declaration.name}' cannot be built: "
            f"{cause_of(f'{type(error).__name__}: {error}')}{line_of(error)}{_lost(error)}"
        ) from error
    for framework, models in _imported():
        models.restore(before.get(framework.name))
    return built if isinstance(built, tuple) else (built, declaration.examples)


def built_model(
    name: str, model: Any, threads: int | None, declared: Sequence[TensorSpec] = ()
) -> BuiltModel:
    """``model`` in inference mode, ready to be run: see :meth:`UserModels.built`.

    Raises:
        UsageError: it is no model.
    """
    return owner_of(name, model)[1].built(name, model, threads, declared)


def owner_of(name: str, model: Any) -> tuple[Framework, UserModels]:
    """The framework of a model.

    Raises:
        UsageError: it is of none.
    """
    for framework, models in _imported():
        if models.owns(model):
            return framework, models
    kinds = [each.takes for each in FRAMEWORKS.values() if each.takes]
    raise UsageError(
        f"model '{name}': its function returns a {type(model).__name__}; return "
        f"{', '.join(kinds[:-1])}, or {kinds[-1]}"
    )


def _imported() -> Iterator[tuple[Framework, UserModels]]:
    """The frameworks that this process has imported; Python's comes last: it takes any callable."""
    for framework in sorted(FRAMEWORKS.values(), key=lambda each: each.name == "python"):
        needed = framework.model_module or framework.module
        if framework.user_models and needed in sys.modules:
            yield framework, _models(framework.user_models)


@cache
def _models(reference: str) -> UserModels:
    models: UserModels = load_object(reference)()
    return models


def _lost(error: BaseException) -> str:
    """Where a relative path was looked for: under make it is not the user's own folder."""
    name = getattr(error, "filename", None)
    if not isinstance(error, FileNotFoundError) or not name or Path(str(name)).is_absolute():
        return ""
    place = f'Path(__file__).with_name("{Path(str(name)).name}")'
    return f" (looked for in {Path.cwd()}; {place} finds it beside your file)"
