"""The native torch worker: build, run in float32 and float64, export. Runs in its own process."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Arrays, digest_arrays
from onnx_conformance.core.compute_modes import FLOAT32, ComputeMode, compute_mode
from onnx_conformance.core.native_constants import write_constants
from onnx_conformance.core.native_request import Description, NativeRequest
from onnx_conformance.core.spec import STATIC_BATCH, ModelSpec, Preprocessing
from onnx_conformance.core.ties import OPEN
from onnx_conformance.core.traces import NativeTensorRecord
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.workers.native import (
    NativeBackend,
    build,
    example,
    input_names,
    named_outputs,
    perturbed,
)
from onnx_conformance.workers.replica_arithmetic import STORED
from onnx_conformance.workers.stopwatch import TimedCall
from onnx_conformance.workers.torch.calling_convention import in_order
from onnx_conformance.workers.torch.constants import Constants, constants_of
from onnx_conformance.workers.torch.float64 import without_gradients
from onnx_conformance.workers.torch.introspect import batch_norms, gradients
from onnx_conformance.workers.torch.masked_rows import (
    MaskedRowsOtherwise,
    left_open,
    open_between,
)
from onnx_conformance.workers.torch.modes import (
    AsBuilt,
    called_eagerly,
    copied,
    eagerly,
    evaluated,
    plain_parts,
    tensors_in,
)
from onnx_conformance.workers.torch.positions import Choosing, whole
from onnx_conformance.workers.torch.precision import (
    array_of,
    computing,
    narrowed,
    narrowed_input,
    require,
    tensor_of,
    weight_array,
    weight_like,
)
from onnx_conformance.workers.torch.private import self_test

# Inputs between which a model's code may branch: by sign, by size, by how many there are.
UNLIKE = (
    Recipe("normal", batch=STATIC_BATCH, extent=1.0),
    Recipe("normal", batch=STATIC_BATCH, scale=100.0, seed=1, extent=0.0),
    Recipe("zeros", batch=STATIC_BATCH),
    Recipe("ones", batch=STATIC_BATCH, scale=-1.0),
    Recipe("ones", batch=STATIC_BATCH, scale=1e6),
)


class TorchBackend(NativeBackend):
    """Keeps one model at a time, and of its compute modes the last."""

    def __init__(self, threads: int) -> None:
        self_test()
        torch.set_num_threads(threads)
        self._key: tuple[str, str] | None = None
        self._variants: dict[str, torch.nn.Module] = {}
        self._as_built: AsBuilt | None = None  # of the float32 variant
        self._choosing: set[str] = set()  # models that may answer positions

    def prepare(self, request: NativeRequest) -> Description:
        """Describe also what the module computes of its parameters alone, and those it ignores."""
        model, path = request.model, request.weights
        torch.manual_seed(request.seed)
        module = evaluated(checked(build(request)))
        names = list(inspect.signature(module.forward).parameters)
        in_order(module, input_names(model))
        if request.calibrated:
            from onnx_conformance.workers.torch.calibrate import calibrate

            calibrate(module, model.inputs[0].shape, request.seed)
        self._as_built = AsBuilt(module)
        arrays: Arrays = {
            name: weight_array(tensor) for name, tensor in module.state_dict().items()
        }
        np.savez(path, allow_pickle=False, **arrays)
        self._key, self._variants = (model.name, path), {"float32": module}
        found = _constants(module, model)
        write_constants(path, found.values)
        return {
            "digest": digest_arrays(arrays),
            "batch_norms": batch_norms(module),
            "unused": sorted(found.idle),
            "names": names,
            "constants": list(found.records),
            "batch_statistics": found.batch_statistics,
            "constant_outputs": [
                spec.name for n, spec in enumerate(model.outputs) if n in found.constant_outputs
            ],
        }

    def run(self, request: NativeRequest, mode: str, input_sets: list[Arrays]) -> list[Arrays]:
        """In eval mode and without gradients.

        Beside an output that is positions stands what they were chosen from, and beside one with
        padded places which of them are left open (:mod:`onnx_conformance.core.ties`).
        """
        module, parsed = self._variant(request, mode), compute_mode(mode)

        def answer(inputs: Arrays) -> Arrays:
            model = request.model
            with without_gradients(parsed.precision), _computing(request, parsed):
                found = self._forward(module, model, inputs, parsed)
                again = functools.partial(self._forward, module, model, inputs, parsed)
                return {**found, **left_open(model, parsed, inputs, found, again)}

        return [called_eagerly(functools.partial(answer, inputs)) for inputs in input_sets]

    def loop(self, request: NativeRequest, mode: str, calls: list[Arrays]) -> list[Arrays]:
        """As any native's; a place left open at one call is so in the state of later ones."""
        found = super().loop(request, mode, calls)
        if not any(name.endswith(OPEN) for row in found for name in row):
            return found
        with MaskedRowsOtherwise():
            others = super().loop(request, mode, calls)
        return [
            {**row, **open_between(request.model, call, row, other)}
            for call, row, other in zip(calls, found, others, strict=True)
        ]

    def _gradients(
        self, request: NativeRequest, names: list[str], input_sets: list[Arrays]
    ) -> Iterator[Arrays]:
        module, model = self._copied(request), request.model
        return gradients(module, names, (as_tensors(model, inputs) for inputs in input_sets))

    def _exported(self, request: NativeRequest, inputs: Arrays) -> tuple[Any, Any]:
        return self._copied(request), as_tensors(request.model, inputs)

    def preprocess(self, paths: list[str], preprocessing: dict[str, Any]) -> list[NDArray[Any]]:
        """Photographs as torchvision makes them into samples: ``(3, crop, crop)`` float32."""
        from onnx_conformance.workers.torch.zoo import torchvision_sample

        return [torchvision_sample(path, Preprocessing(**preprocessing)) for path in paths]

    def timed_call(self, form: str, inputs: Arrays, *, request: NativeRequest) -> TimedCall:
        """See :mod:`.timing`."""
        from onnx_conformance.workers.torch.timing import make_timed_call

        return make_timed_call(form, self._variant(request, "float32"), request.model, inputs)

    def trace(
        self, request: NativeRequest, modes: list[str], inputs: Arrays, folder: str
    ) -> list[NativeTensorRecord]:
        """See :mod:`.trace`."""
        from onnx_conformance.workers.torch.trace import trace

        # A first run loads torch's compiler, if anything does.
        self.run(request, FLOAT32, [inputs])

        def modules() -> Iterator[torch.nn.Module]:
            for mode in modes:  # each in its compute mode while it is run
                with eagerly(), _computing(request, compute_mode(mode)):
                    yield self._variant(request, mode)

        model = request.model
        tensors = as_tensors(model, inputs)
        return trace(modules(), dict(zip(input_names(model), tensors, strict=True)), Path(folder))

    def _variant(self, request: NativeRequest, mode: str) -> torch.nn.Module:
        key = request.model.name, request.weights
        if self._key != key:
            self._key, self._variants = key, {}
        if mode not in self._variants:
            made = self._make(request, mode)
            native = {name: kept for name, kept in self._variants.items() if name == "float32"}
            self._variants = {**native, mode: made}  # memory for one variant beside native
        return self._variants[mode]

    def _make(self, request: NativeRequest, mode: str) -> torch.nn.Module:
        if mode == "float32":
            module = _built(request)
            self._as_built = AsBuilt(module)
            return module
        parsed = compute_mode(mode)
        if parsed.device:
            require(parsed.device)
        native = self._variant(request, "float32")
        module = self._copied(request)
        if mode == "float64":
            return module.double()
        if parsed.device:
            return module.to(parsed.device)
        state = {n: weight_array(t) for n, t in native.state_dict().items()}
        _load(
            module,
            {name: perturbed(name, array, mode) for name, array in state.items()},
        )
        return narrowed(module, parsed.precision) if parsed.precision in STORED else module

    def _copied(self, request: NativeRequest) -> torch.nn.Module:
        """Another module with native's weights.

        A copy, or built anew where it has parts that cannot be copied: a lock, an open file.
        """
        native = self._variant(request, "float32")
        if len(plain_parts(native)) < sum(1 for _ in native.modules()):
            return _built(request)  # a copy of TorchScript's loses what its parameters are
        try:
            return in_order(copied(native, self._as_built), input_names(request.model))
        except (TypeError, RuntimeError, NotImplementedError):
            return _built(request)

    def _forward(
        self, module: torch.nn.Module, model: ModelSpec, input_set: Arrays, mode: ComputeMode
    ) -> Arrays:
        inputs = as_tensors(model, input_set)
        if mode.precision == "float64":
            inputs = tuple(widened(tensor) for tensor in inputs)
        elif mode.device:
            inputs = tuple(tensor.to(mode.device) for tensor in inputs)
        elif mode.precision in STORED:
            inputs = tuple(narrowed_input(tensor, mode.precision) for tensor in inputs)
        if model.name not in self._choosing:
            tensors = tensors_in(module(*inputs))
            if not whole(tensors):
                return named_outputs(model, map(array_of, tensors))
            self._choosing.add(model.name)
        with Choosing() as chosen:
            tensors = tensors_in(module(*inputs))
        found = named_outputs(model, map(array_of, tensors))
        return {**found, **chosen.beside([spec.name for spec in model.outputs], tensors)}


def _built(request: NativeRequest) -> torch.nn.Module:
    """The float32 model with the weights that ``prepare`` wrote."""
    torch.manual_seed(request.seed)
    module = in_order(evaluated(checked(build(request))), input_names(request.model))
    with np.load(request.weights) as arrays:
        _load(module, {name: arrays[name] for name in arrays.files})
    return module


def _computing(request: NativeRequest, mode: ComputeMode) -> AbstractContextManager[None]:
    precision = request.model.precision
    return computing(mode, request.approximation, precision)


def _load(module: torch.nn.Module, arrays: Arrays) -> None:
    """Set a module's tensors through its own state dict, which has the versions of its parts."""
    state = module.state_dict()
    if state.keys() != arrays.keys():
        raise ValueError(
            f"the weights are of another model: {sorted(state.keys() ^ arrays.keys())}"
        )
    for name in state:
        state[name] = weight_like(arrays[name], state[name])
    module.load_state_dict(state)


def checked(module: Any) -> torch.nn.Module:
    """The module. Raises TypeError: the builder gave something else."""
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"the builder returned a {type(module).__name__}, not a torch.nn.Module")
    return module


def as_tensors(model: ModelSpec, inputs: Arrays) -> tuple[torch.Tensor, ...]:
    """The inputs in the order of the model's inputs."""
    return tuple(tensor_of(inputs[spec.name], spec.dtype) for spec in model.inputs)


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """Floating numbers in float64, whole numbers and truth values as they are."""
    return tensor.double() if tensor.is_floating_point() else tensor


def _constants(module: torch.nn.Module, model: ModelSpec) -> Constants:
    """What the module computes of its parameters alone, by unlike examples.

    Nothing of a forward pass that cannot be followed.
    """
    input_sets = [example(model), *(recipe.inputs(model.inputs, model.axes) for recipe in UNLIKE)]
    try:
        return constants_of(module, (as_tensors(model, inputs) for inputs in input_sets))
    except Exception:  # noqa: BLE001 - whatever an operator raises under a dispatch mode
        return Constants()
