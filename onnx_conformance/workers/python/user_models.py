"""Callables from arrays to arrays that users hand in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.built_model import (
    BuiltModel,
    UserModels,
    labels_of,
    parameters_of,
    with_names,
)
from onnx_conformance.workers.calling_convention import convention_of
from onnx_conformance.workers.python.backend import leaves


class PythonModels(UserModels):
    """Functions and other callables that no other framework owns."""

    def owns(self, model: Any) -> bool:
        return callable(model) and not isinstance(model, type)

    def built(
        self, name: str, model: Any, threads: int | None, declared: Sequence[TensorSpec] = ()
    ) -> BuiltModel:
        def run(input_set: Inputs) -> Arrays:
            arrays = [np.array(array) for array in input_set.values()]
            result = convention_of(model, list(input_set))(model, arrays)
            return with_names(leaves(result), labels_of(result))

        return BuiltModel(
            framework="python",
            parameters=parameters_of(model),
            run=run,
            refuses=lambda names: convention_of(model, names).problem,
        )
