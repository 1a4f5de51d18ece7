"""Plain Python callables from arrays to arrays in the native model's place, in float32 only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from onnx_conformance.core.arrays import Array, Arrays, digest_arrays
from onnx_conformance.core.compute_modes import compute_mode
from onnx_conformance.core.native_request import Description, NativeRequest
from onnx_conformance.core.plain_outputs import is_maps
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
from onnx_conformance.workers.native import (
    NativeBackend,
    build,
    input_names,
    named_outputs,
    perturbed,
)
from onnx_conformance.workers.stopwatch import TimedCall


class PythonBackend(NativeBackend):
    """Calls a function, whose weights are not accessible."""

    def __init__(self, threads: int) -> None:
        self._held: tuple[str, Any] | None = None

    def prepare(self, request: NativeRequest) -> Description:
        """Write a file without weights."""
        np.savez(request.weights)
        return {"digest": digest_arrays({}), "batch_norms": [], "unused": [], "names": []}

    def run(self, request: NativeRequest, mode: str, input_sets: list[Arrays]) -> list[Arrays]:
        """Call the function; for a replica, on floating inputs that are off by up to an ulp.

        Raises:
            ValueError: another class of precision than float32 is asked for.
        """
        if compute_mode(mode).precision != "float32":
            raise ValueError(f"a plain callable is not computed in {mode}")
        model, names = request.model, input_names(request.model)
        call = self._call(request)
        return [
            named_outputs(
                model, leaves(call([perturbed(n, np.array(inputs[n]), mode) for n in names]))
            )
            for inputs in input_sets
        ]

    def timed_call(self, form: str, inputs: Arrays, *, request: NativeRequest) -> TimedCall:
        """The call of the function."""
        model, call = request.model, self._call(request)
        arrays = [np.array(inputs[name]) for name in input_names(model)]
        return TimedCall(lambda: call(arrays), lambda result: named_outputs(model, leaves(result)))

    def _call(self, request: NativeRequest) -> Callable[[Sequence[Array]], Any]:
        """The function of inputs in the order of the model's spec."""
        model = request.model
        if self._held is None or self._held[0] != model.builder:
            self._held = (model.builder, build(request))
        function = self._held[1]
        convention = convention_of(function, input_names(model))
        return lambda arrays: convention(function, arrays)


class PythonModels(UserModels):
    """Functions and other callables that no other framework owns."""

    def owns(self, model: Any) -> bool:
        """Whether it can be called; a class is none."""
        return callable(model) and not isinstance(model, type)

    def built(
        self, name: str, model: Any, threads: int | None, declared: Sequence[TensorSpec] = ()
    ) -> BuiltModel:
        """The callable as it is."""

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


def leaves(result: Any) -> list[Any]:
    """The arrays of a result at any depth of tuples, lists and dicts, in their order.

    A list of dicts is one output: rows of maps, as ZipMap makes them.
    """
    if is_maps(result):
        return [result]
    if isinstance(result, Mapping):
        return [array for value in result.values() for array in leaves(value)]
    if isinstance(result, (tuple, list)):
        return [array for value in result for array in leaves(value)]
    return [] if result is None else [np.asarray(result)]
