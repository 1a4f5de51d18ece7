"""torch modules that users hand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from onnx_conformance.core.arrays import Arrays, digest_arrays
from onnx_conformance.core.compute_modes import FLOAT32
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.built_model import (
    BuiltModel,
    Observed,
    UserModels,
    labels_of,
    parameters_of,
    with_names,
)
from onnx_conformance.workers.calling_convention import convention_of
from onnx_conformance.workers.torch.backend import widened
from onnx_conformance.workers.torch.float64 import in_float64
from onnx_conformance.workers.torch.modes import (
    AsBuilt,
    called_eagerly,
    copied,
    eagerly,
    evaluated,
    tensors_in,
)
from onnx_conformance.workers.torch.precision import precision_of, tensor_of, weight_array

FLOAT16_NAME = (
    "torch.float16"  # of an output, which its model casts: the case is judged in that class
)


class TorchModels(UserModels):
    """Objects of ``torch.nn.Module``."""

    def owns(self, model: Any) -> bool:
        return isinstance(model, torch.nn.Module)

    def built(
        self, name: str, model: Any, threads: int | None, declared: Sequence[TensorSpec] = ()
    ) -> BuiltModel:
        if threads is not None:
            torch.set_num_threads(threads)
        _refuse_quantised(name, model)
        calls = _Calls(model, {spec.name: spec.dtype for spec in declared})
        trained = _digest(model, counters=False)
        return BuiltModel(
            framework="torch",
            parameters=parameters_of(model.forward),
            digest=_digest(model),
            run=calls.run,
            changed=lambda: _digest(model, counters=False) != trained,
            float64_problem=calls.float64_problem,
            refuses=lambda names: convention_of(calls.forward, names).problem,
            weights=_weights(model),
            seen=calls.seen,
        )

    def seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def copier(self, model: Any) -> Callable[[], Any]:
        built = AsBuilt(model)
        return lambda: copied(model, built)


class _Calls:
    """Calls of a module, and what they showed."""

    def __init__(self, module: torch.nn.Module, dtypes: dict[str, str]) -> None:
        self._built = AsBuilt(evaluated(module))
        self._module, self._dtypes = module, dtypes
        self.forward = module.forward
        self.seen = Observed()

    def run(self, input_set: Inputs) -> Arrays:
        """The outputs by name."""

        def call() -> Any:
            tensors = [tensor_of(array, self._dtypes.get(n, "")) for n, array in input_set.items()]
            with torch.inference_mode():
                return convention_of(self.forward, list(input_set))(self._module, tensors)

        result = called_eagerly(call)
        if self.seen.exact is None:
            self.seen.precision, self.seen.exact = precision_of(call)
        found = tensors_in(result)
        if not found:
            raise UsageError(
                f"the model returns a {type(result).__name__}, which has no tensor in it; "
                "return a tensor, or tuples, lists and dicts of tensors"
            )
        self.seen.bfloat16.update(
            n for n, tensor in enumerate(found) if tensor.dtype == torch.bfloat16
        )
        return with_names([weight_array(tensor) for tensor in found], labels_of(result))

    def float64_problem(self, input_set: Inputs) -> str | None:
        """Why a copy in float64 does not answer in float64."""
        wide = [widened(torch.from_numpy(np.array(array))) for array in input_set.values()]
        try:
            in_double: Any = copied(self._module, self._built).double()
            with torch.no_grad(), eagerly(), in_float64(self.seen.precision or FLOAT32):
                result = convention_of(in_double.forward, list(input_set))(in_double, wide)
        except (RuntimeError, TypeError) as error:
            return " ".join(str(error).split())[:200]
        tensors = tensors_in(result)
        self.seen.in_float64.append(
            with_names([weight_array(tensor) for tensor in tensors], labels_of(result))
        )
        dtypes = [str(tensor.dtype) for tensor in tensors if tensor.is_floating_point()]
        narrow = [dtype for dtype in dtypes if dtype not in ("torch.float64", FLOAT16_NAME)]
        return f"an output is {narrow[0]}" if narrow else None


def _refuse_quantised(name: str, module: torch.nn.Module) -> None:
    """Refuse weights of eight bits: packed ones are no tensors, and nothing widens them."""
    state = module.state_dict().values()
    plain = all(isinstance(one, torch.Tensor) and not one.is_quantized for one in state)
    if not plain:
        raise UsageError(
            f"model '{name}' holds weights that torch.ao.quantization packed, of which torch's "
            "exporters write some operators and no oracle computes; hand in the model as it was "
            "before convert(), and make the int8 file from its export (make variants), or judge "
            "two files (--against)"
        )


def _weights(module: torch.nn.Module) -> int:
    """How many numbers a call may multiply with: of tables that ids choose from only some rows."""
    kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    tables: set[Any] = set()
    others: set[Any] = set()
    for part in module.modules():
        named = part.parameters(recurse=False)
        (tables if isinstance(part, kinds) else others).update(named)
    held = sum(tensor.numel() for tensor in module.state_dict().values())
    return int(held - sum(table.numel() for table in tables - others))


def _digest(module: torch.nn.Module, *, counters: bool = True) -> str:
    """The digest of its tensors; without ``counters``, of the floating ones alone."""
    tensors = {n: t.detach().cpu() for n, t in module.state_dict().items()}
    kept = {n: t for n, t in tensors.items() if counters or t.is_floating_point()}
    return digest_arrays({name: weight_array(tensor) for name, tensor in kept.items()})
