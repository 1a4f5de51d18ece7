"""The interface of a native worker, and what native workers share."""

from __future__ import annotations

import inspect
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Arrays, Outputs
from onnx_conformance.core.carries import in_a_row
from onnx_conformance.core.compute_modes import EPSILONS, FLOAT32, FLOAT64, REPLICAS, compute_mode
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.native_request import Description, NativeChanged, NativeRequest
from onnx_conformance.core.plain_outputs import arrays_of, coded
from onnx_conformance.core.spec import STATIC_BATCH, ModelSpec
from onnx_conformance.core.traces import NativeTensorRecord
from onnx_conformance.inputs.batch_layout import first_call
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.workers.server import load_object
from onnx_conformance.workers.stopwatch import Stopwatch, TimedCall

Approximation = dict[str, float]  # function -> how far a runtime may be off, in float32 epsilons


class NativeBackend(Stopwatch, ABC):
    """One framework's worker: a subclass in ``workers/<framework>/backend.py``.

    :class:`onnx_conformance.catalog.frameworks.Framework` names it. ``prepare``, ``run`` and
    ``timed_call`` every framework has; what else a framework has not raises CapabilityMissing.
    A backend is made with ``threads``, the number of threads that it may compute with.
    """

    @abstractmethod
    def prepare(self, request: NativeRequest) -> Description:
        """Build the model, calibrate it if it must be, and write its weights to their file.

        Returns:
            What the judge must know of it. The file (npz) holds an array a tensor by its name.
        """

    @abstractmethod
    def run(self, request: NativeRequest, mode: str, input_sets: list[Arrays]) -> list[Arrays]:
        """The outputs by name of each set of inputs, in inference mode.

        Args:
            mode: the name of a compute mode (:mod:`onnx_conformance.core.compute_modes`).

        Raises:
            CapabilityMissing: a device is named that this framework has not here.
        """

    def loop(self, request: NativeRequest, mode: str, calls: list[Arrays]) -> list[Arrays]:
        """The outputs of calls in a row, as :meth:`run` gives them.

        What the model carries, each call gets as the one before gave it; the first has it already.
        """
        dtypes = {spec.name: spec.dtype for spec in request.model.inputs}
        carries = request.model.carries
        states = [] if mode == FLOAT64 else [old for _, old in carries]

        def answer(inputs: Outputs) -> Arrays:
            # a state in half precision was handed over as float32
            narrowed = {old: inputs[old].astype(dtypes[old]) for old in states}
            return self.run(request, mode, [{**inputs, **narrowed}])[0]

        return [dict(outputs) for outputs in in_a_row(calls, carries, answer)]

    @abstractmethod
    def timed_call(self, form: str, inputs: Arrays, *, request: NativeRequest) -> TimedCall:
        """The inference to be timed, in one of the forms of the framework's record."""

    def influence(
        self, request: NativeRequest, names: list[str], input_sets: list[Arrays], least: float
    ) -> dict[str, float]:
        """The share of each tensor's elements that affects the outputs on these inputs.

        An element does if the gradient by it of a sum of the outputs, each with a random sign, is
        more than ``least`` times the root mean square over its tensor.

        Args:
            names: tensors of the weights.

        Raises:
            RuntimeError: an operator has no gradient.
        """
        return shares_of(self._gradients(request, names, input_sets), names, least)

    def _gradients(
        self, request: NativeRequest, names: list[str], input_sets: list[Arrays]
    ) -> Iterator[Arrays]:
        """For each set of inputs, the gradients by those of the named tensors that have one."""
        raise CapabilityMissing(f"{self._title} has no gradients of the weights")

    def export(
        self, request: NativeRequest, function: str, opset: int, options: dict[str, bool], path: str
    ) -> None:
        """Export the float32 model to ``path`` by the exporter's ``function`` (module:name).

        Raises:
            NativeChanged: native answers otherwise after the export.
        """
        model, inputs = request.model, example(request.model)
        exported = self._exported(request, inputs)
        before = self.run(request, FLOAT32, [inputs])
        load_object(function)(*exported, model, opset, options, Path(path))
        refuse_change(before, self.run(request, FLOAT32, [inputs]))

    def _exported(self, request: NativeRequest, inputs: Arrays) -> tuple[Any, Any]:
        """What exporters take: the float32 model, and its inputs as it takes them."""
        raise CapabilityMissing(f"{self._title} is not exported")

    def trace(
        self, request: NativeRequest, modes: list[str], inputs: Arrays, folder: str
    ) -> list[NativeTensorRecord]:
        """Every intermediate tensor in the first of the compute modes, written to ``folder``.

        Returns:
            A record a tensor; the further ones are compared with the first.
        """
        raise CapabilityMissing(f"{self._title} shows no intermediate tensors")

    @property
    def _title(self) -> str:
        return type(self).__name__.removesuffix("Backend")


def shares_of(gradients: Iterable[Arrays], names: list[str], least: float) -> dict[str, float]:
    """Which share of each tensor's elements has a gradient: see :meth:`NativeBackend.influence`."""
    totals: Arrays = {name: np.zeros(0) for name in names}
    for found in gradients:
        for name, gradient in found.items():
            size = np.abs(np.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0))
            totals[name] = totals[name] + size if totals[name].size else size
    return {name: _share(total, least) for name, total in totals.items()}


def _share(total: NDArray[Any], least: float) -> float:
    size = float(np.sqrt(np.mean(np.square(total, dtype=np.float64)))) if total.size else 0.0
    return float(np.mean(total > least * size)) if size > 0 else 0.0


def refuse_change(before: list[Arrays], after: list[Arrays]) -> None:
    """Compare native's answers to the same inputs before and after an export, bit by bit.

    A route that changed the model in place, or patched the framework, would change the oracle
    with it, and so agree with itself.

    Raises:
        NativeChanged: they differ.
    """
    for old, new in zip(before, after, strict=True):
        for name, array in old.items():
            if array.tobytes() != new[name].tobytes():
                raise NativeChanged(
                    f"the export changed the native model: '{name}' differs after it"
                )


def build(request: NativeRequest) -> Any:
    """Call the model's builder; what it returns beside the model, such as examples, is dropped."""
    builder = load_object(request.model.builder)
    model = call_builder(builder, request.model.arguments, request.pretrained)
    return model[0] if isinstance(model, tuple) else model


def call_builder(builder: Any, arguments: Sequence[str], pretrained: bool) -> Any:
    """Call a builder, with ``pretrained`` where it takes that argument."""
    if "pretrained" in inspect.signature(builder).parameters:
        return builder(*arguments, pretrained=pretrained)
    return builder(*arguments)


def example(model: ModelSpec) -> Arrays:
    """Uniform inputs within their domains, by name, in the layout of the model.

    Two samples, or as many as it takes, and symbolic axes of middling size: a size of 1 invites
    exporters to specialise.
    """
    recipe = Recipe("uniform", batch=model.group or STATIC_BATCH)
    return first_call(recipe, model.inputs, model.axes, model.group)


def perturbed(name: str, array: NDArray[Any], mode: str) -> NDArray[Any]:
    """``array`` with every element multiplied by 1 + 2⁻²³·U(-1, 1), at most about one ulp.

    This is the rounding that constant folding is entitled to; of a replica in another class of
    precision, one of its ulps. Native itself and whole numbers stay as they are.
    """
    parsed = compute_mode(mode)
    if array.dtype != np.float32 or not parsed.replica:
        return array
    rng = np.random.default_rng([REPLICAS.index(parsed.replica), zlib.crc32(name.encode())])
    noise = 2.0 * np.asarray(rng.random(array.shape, dtype=np.float32)) - 1.0
    factor = 1.0 + EPSILONS[parsed.precision] * np.asarray(noise, np.float64)
    product: NDArray[Any] = np.asarray(array * factor, np.float32)
    return product


def named_outputs(model: ModelSpec, results: Iterable[NDArray[Any]]) -> Arrays:
    """A model's outputs by name, in the order of its spec, texts as codes.

    Raises:
        ValueError: as many as the spec names are wanted.
    """
    found = [array for result in results for array in arrays_of(result)]
    names = [spec.name for spec in model.outputs]
    if len(found) != len(names):
        raise ValueError(
            f"model '{model.name}' returned {len(found)} outputs, "
            f"its spec names {len(names)}: {names}"
        )
    return dict(zip(names, map(coded, found), strict=True))


def input_names(model: ModelSpec) -> list[str]:
    """The spec's names of the model's inputs, in order."""
    return [spec.name for spec in model.inputs]
