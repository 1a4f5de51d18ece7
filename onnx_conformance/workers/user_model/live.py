"""Live models, which ``certify`` gets as objects of the caller's process."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core.custom_operators import ATTRIBUTE, PAGE, CustomOperators
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.workers.server import load_object
from onnx_conformance.workers.user_model.build import owner_of
from onnx_conformance.workers.user_model.describe import specify

_COPIERS: dict[str, Callable[[], Any]] = {}  # of live models, by token
_OPERATORS: dict[str, CustomOperators] = {}
_NUMBERS = itertools.count(1)


def describe_live(
    model: Any,
    declaration: Declaration,
    seed: int,
    folder: Path,
    operators: CustomOperators | None = None,
) -> ModelSpec:
    """The spec of a live model.

    It is copied by workers in this process; or, where its framework's record says so, written to
    ``folder`` and read by a worker of its own.

    Raises:
        UsageError: the model or its spec is wrong, in one sentence.
    """
    framework, models = owner_of(declaration.name, model)
    if framework.runs_live:
        reference, token = f"{__name__}:{model_copy.__name__}", str(next(_NUMBERS))
        _COPIERS[token] = models.copier(model)
        if operators is not None:
            _OPERATORS[token] = operators
    elif operators is not None:
        raise UsageError(
            f"certify: a {framework.title} model is exported by another process, which functions "
            f"cannot reach; register the model in a file, with @custom_operators ({PAGE})"
        )
    else:
        reference, token = models.save(model, folder)
    own = replace(declaration, builder=load_object(reference))
    found = specify(own, reference, (token,), "calibrated", seed, threads=None)
    # its code may stand in a notebook, where nobody sees it change: no result outlives it
    return replace(found, fingerprint=f"{found.fingerprint} {uuid.uuid4()}")


def model_copy(token: str) -> Any:
    """A copy of a live model."""
    return _COPIERS[token]()


setattr(model_copy, ATTRIBUTE, _OPERATORS.get)
