"""Build what a user hands in, a torch module, Keras model, ONNX file or callable, for its spec."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onnx_conformance.core.domains import Real, default_domain
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.native_request import digest_arrays
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.calls import call_of
from onnx_conformance.workers.user_model.built_model import (
    MANY,
    Answer,
    BuiltModel,
    labels_of,
    signature,
    with_names,
)
from onnx_conformance.workers.user_model.infer_spec import BATCH

HALF = "torch.float16"  # of an output, which its model casts: the case is judged in that class


def built_model(
    name: str, model: Any, threads: int | None, declared: Sequence[TensorSpec] = ()
) -> BuiltModel:
    """``model`` in eval mode, ready to be run.

    Args:
        declared: the inputs, where its registration names them.

    Raises:
        UsageError: it is no model.
    """
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    if torch is not None and isinstance(model, torch.nn.Module):
        return _torch_model(torch, name, model, threads, declared)
    if keras is not None and isinstance(model, keras.Model):
        return _keras_model(keras, model)
    if isinstance(model, Path):
        from onnx_conformance.workers.user_model.onnx_reference import file_model

        return file_model(model, threads, declared)
    if callable(model) and not isinstance(model, type):
        return _python_model(model)
    raise UsageError(
        f"model '{name}': its function returns a {type(model).__name__}; return a "
        "torch.nn.Module, a keras.Model, the pathlib.Path of an ONNX file, or a callable from "
        "arrays to arrays"
    )


def _torch_model(
    torch: Any, name: str, module: Any, threads: int | None, declared: Sequence[TensorSpec]
) -> BuiltModel:
    from onnx_conformance.workers.torch.backend import widened
    from onnx_conformance.workers.torch.float64 import in_float64
    from onnx_conformance.workers.torch.introspect import flat
    from onnx_conformance.workers.torch.modes import (
        AsBuilt,
        called_eagerly,
        copied,
        eagerly,
        evaluated,
    )
    from onnx_conformance.workers.torch.precision import precision_of, tensor_of, weight_array

    if threads is not None:
        torch.set_num_threads(threads)
    _refuse_quantised(torch, name, module)
    built = AsBuilt(evaluated(module))
    dtypes = {spec.name: spec.dtype for spec in declared}
    seen: list[str] = []
    in_bfloat16: set[int] = set()
    exact: set[int] = set()
    names, least, most = signature(module.forward)
    before, trained = _torch_digest(module), _torch_digest(module, counters=False)

    forward = module.forward

    def run(input_set: Inputs) -> Answer:
        def call() -> Any:
            tensors = [tensor_of(array, dtypes.get(n, "")) for n, array in input_set.items()]
            with torch.inference_mode():
                return call_of(forward, list(input_set))(module, tensors)

        result = called_eagerly(call)
        if not seen:
            precision, unreached = precision_of(call)
            seen.append(precision)
            exact.update(unreached)
        found = flat(result)
        if not found:
            raise UsageError(
                f"the model returns a {type(result).__name__}, which has no tensor in it; "
                "return a tensor, or tuples, lists and dicts of tensors"
            )
        in_bfloat16.update(n for n, tensor in enumerate(found) if tensor.dtype == torch.bfloat16)
        return with_names([weight_array(tensor) for tensor in found], labels_of(result))

    def float64_problem(input_set: Inputs) -> str | None:
        wide = [widened(torch.from_numpy(np.array(array))) for array in input_set.values()]
        try:
            in_double: Any = copied(module, built).double()
            with torch.no_grad(), eagerly(), in_float64(*seen):
                tensors = flat(call_of(in_double.forward, list(input_set))(in_double, wide))
        except (RuntimeError, TypeError) as error:
            return " ".join(str(error).split())[:200]
        return _narrow([str(t.dtype) for t in tensors if t.is_floating_point()])

    return BuiltModel(
        "torch", names, (least, most), (), before, run,
        lambda: _torch_digest(module, counters=False) != trained, float64_problem,
        lambda inputs: call_of(forward, inputs).problem,
        weights=_torch_weights(torch, module), computes=seen, bfloat16=in_bfloat16, exact=exact,
    )  # fmt: skip


def _refuse_quantised(torch: Any, name: str, module: Any) -> None:
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


def _torch_weights(torch: Any, module: Any) -> int:
    """How many numbers a call may multiply with: of tables that ids choose from only some rows."""
    kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    tables: set[Any] = set()
    others: set[Any] = set()
    for part in module.modules():
        named = part.parameters(recurse=False)
        (tables if isinstance(part, kinds) else others).update(named)
    held = sum(tensor.numel() for tensor in module.state_dict().values())
    return int(held - sum(table.numel() for table in tables - others))


def _torch_digest(module: Any, *, counters: bool = True) -> str:
    """Of its tensors; without ``counters`` of the floating ones, which alone are trained."""
    from onnx_conformance.workers.torch.precision import weight_array

    tensors = {n: t.detach().cpu() for n, t in module.state_dict().items()}
    kept = {n: t for n, t in tensors.items() if counters or t.is_floating_point()}
    return digest_arrays({name: weight_array(tensor) for name, tensor in kept.items()})


def _narrow(dtypes: list[str]) -> str | None:
    narrow = [dtype for dtype in dtypes if "float64" not in dtype and dtype != HALF]
    return f"an output is {narrow[0]}" if narrow else None


def _keras_model(keras: Any, model: Any) -> BuiltModel:
    from onnx_conformance.workers.keras.calls import KerasCall
    from onnx_conformance.workers.keras.precision import exact_outputs

    names = tuple(getattr(model, "output_names", None) or ())
    known = tuple(getattr(model, "inputs", None) or ())
    inputs = tuple(_keras_spec(place, tensor, len(known)) for place, tensor in enumerate(known))
    least, most = (len(known), len(known)) if known else (1, MANY)

    def digest() -> str:
        arrays = {f"{place}": v.numpy() for place, v in enumerate(model.weights)}
        return digest_arrays(arrays)

    def run(input_set: Inputs) -> Answer:
        arrays = [np.array(array) for array in input_set.values()]
        call = KerasCall(model, list(input_set))
        result = call(arrays)
        labels, tensors = _keras_outputs(keras, result)
        if not called and computes:
            exact.update(exact_outputs(lambda *i: _keras_outputs(keras, call(i))[1], arrays))
        called.append(True)
        found = [np.asarray(tensor) for tensor in tensors]
        return dict(zip(labels, found, strict=True)) if labels else with_names(found, names)

    called: list[bool] = []
    exact: set[int] = set()
    computes = _compute_dtypes(model)
    before = digest() if model.built else ""
    return BuiltModel(
        "keras", tuple(spec.name for spec in inputs), (least, most), inputs, before, run,
        lambda: bool(before) and digest() != before, lambda input_set: None,
        weights=_keras_weights(keras, model) if model.built else 0,
        computes=computes, exact=exact,
    )  # fmt: skip


def _keras_outputs(keras: Any, result: Any) -> tuple[list[str], list[Any]]:
    """The tensors of what a Keras model returns, and the names of those of a flat dict."""
    if isinstance(result, dict) and all(hasattr(part, "shape") for part in result.values()):
        # in TensorFlow's order, which is that of the names in any exported file
        return sorted(result), [result[name] for name in sorted(result)]
    return [], list(keras.tree.flatten(result))


def _compute_dtypes(model: Any) -> Sequence[str]:
    """The least exact class in which a layer of a Keras model computes; none for float32."""
    from onnx_conformance.workers.keras.private import layers_of

    asked = {str(layer.compute_dtype) for layer in layers_of(model)}
    return [name for name in ("bfloat16", "float16") if name in asked][:1]


def _keras_weights(keras: Any, model: Any) -> int:
    """As :func:`_torch_weights`."""
    parts = getattr(model, "layers", [])
    tables = [part for part in parts if isinstance(part, keras.layers.Embedding)]
    choosing = {id(weight) for table in tables for weight in table.weights}
    return sum(int(np.prod(v.shape)) for v in model.weights if id(v) not in choosing)


def _keras_spec(place: int, tensor: Any, count: int) -> TensorSpec:
    label = str(getattr(tensor, "name", "") or "")
    plain = label if label and not label.startswith("keras_tensor") else "input"
    name = plain if count == 1 or plain != "input" else f"input_{place}"
    dims = [f"{name}_dim_{axis}" if dim is None else dim for axis, dim in enumerate(tensor.shape)]
    first = tensor.shape[0] if tensor.shape else None
    spec = TensorSpec(name, (first or BATCH, *dims[1:]), str(tensor.dtype))
    return replace(spec, domain=default_domain(spec.dtype) or Real())


def _python_model(function: Any) -> BuiltModel:
    names, least, most = signature(function)

    def run(input_set: Inputs) -> Answer:
        from onnx_conformance.workers.python.backend import leaves

        arrays = [np.array(array) for array in input_set.values()]
        result = call_of(function, list(input_set))(function, arrays)
        return with_names(leaves(result), labels_of(result))

    return BuiltModel(
        "python", names, (least, most), (), "", run, lambda: False, lambda input_set: None,
        lambda inputs: call_of(function, inputs).problem,
    )  # fmt: skip
