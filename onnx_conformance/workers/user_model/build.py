"""A built user model of any kind: how it is run, and its parameters."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnx_conformance.core.domains import Real, default_domain
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.native_request import digest_arrays
from onnx_conformance.core.plain_outputs import is_keys, is_maps, named
from onnx_conformance.core.spec import Axes, TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.calls import call_of
from onnx_conformance.workers.user_model.infer_spec import BATCH

Answer = dict[str, np.ndarray[Any, Any]]
HALF = "torch.float16"  # of an output, which its model casts: the case is judged in that class
MANY = 1_000  # inputs that a signature with *args may have


@dataclass(frozen=True)
class Looked:
    """A model's face.

    Args:
        parameters: what the model calls its inputs, where it does.
        arity: the fewest and the most inputs that it accepts.
        refuses: why it does not take inputs of some names; empty where it does.
        inputs: their specs, where the model itself knows them.
        digest: of the weights that it was built with.
        run: its outputs on inputs, named in order.
        changed: whether its weights are no longer those that it was built with.
        float64_problem: why it cannot be computed in float64, or None.
        axes: the sizes of symbolic axes, where the model itself was found to need others.
        notes: what a reader should know of its inputs, a line each.
        oracle: of an ONNX file, how it is computed in float64 (an ``onnx_agreement.Oracle``).
        weights: how many numbers its weights hold, without tables that are read by index; 0 where
            nobody knows.
        computes: the class of precision in which its first call multiplied, or its layers ask to;
            empty before that call, and for float32.
        bfloat16: places of the outputs that its calls so far gave in bfloat16.
    """

    framework: str
    parameters: tuple[str, ...]
    arity: tuple[int, int]
    inputs: tuple[TensorSpec, ...]
    digest: str
    run: Callable[[Inputs], Answer]
    changed: Callable[[], bool]
    float64_problem: Callable[[Inputs], str | None]
    refuses: Callable[[Sequence[str]], str] = lambda names: ""
    axes: Axes = ()
    notes: tuple[str, ...] = ()
    oracle: Callable[[Sequence[Inputs]], Any] | None = None
    weights: int = 0
    computes: Sequence[str] = ()
    bfloat16: Collection[int] = ()


def look(name: str, model: Any, threads: int | None, declared: Sequence[TensorSpec] = ()) -> Looked:
    """Look at ``model``, in eval mode.

    Args:
        declared: the inputs, where its registration names them.

    Raises:
        UsageError: it is no model.
    """
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    if torch is not None and isinstance(model, torch.nn.Module):
        return _look_at_torch(torch, name, model, threads, declared)
    if keras is not None and isinstance(model, keras.Model):
        return _look_at_keras(keras, model)
    if isinstance(model, Path):
        from onnx_conformance.workers.user_model.onnx_reference import look_at_file

        return look_at_file(model, threads, declared)
    if callable(model) and not isinstance(model, type):
        return _look_at_python(model)
    raise UsageError(
        f"model '{name}': its function returns a {type(model).__name__}; return a "
        "torch.nn.Module, a keras.Model, the pathlib.Path of an ONNX file, or a callable from "
        "arrays to arrays"
    )


def _look_at_torch(
    torch: Any, name: str, module: Any, threads: int | None, declared: Sequence[TensorSpec]
) -> Looked:
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
    names, least, most = _signature(module.forward)
    before, trained = _torch_digest(module), _torch_digest(module, counters=False)

    forward = module.forward

    def run(input_set: Inputs) -> Answer:
        def call() -> Any:
            tensors = [tensor_of(array, dtypes.get(n, "")) for n, array in input_set.items()]
            with torch.inference_mode():
                return call_of(forward, list(input_set))(module, tensors)

        result = called_eagerly(call)
        if not seen:
            seen.append(precision_of(call))
        found = flat(result)
        if not found:
            raise UsageError(
                f"the model returns a {type(result).__name__}, which has no tensor in it; "
                "return a tensor, or tuples, lists and dicts of tensors"
            )
        in_bfloat16.update(n for n, tensor in enumerate(found) if tensor.dtype == torch.bfloat16)
        return _named([weight_array(tensor) for tensor in found], _labels(result))

    def float64_problem(input_set: Inputs) -> str | None:
        wide = [widened(torch.from_numpy(np.array(array))) for array in input_set.values()]
        try:
            twin: Any = copied(module, built).double()
            with torch.no_grad(), eagerly(), in_float64(*seen):
                tensors = flat(call_of(twin.forward, list(input_set))(twin, wide))
        except (RuntimeError, TypeError) as error:
            return " ".join(str(error).split())[:200]
        return _narrow([str(t.dtype) for t in tensors if t.is_floating_point()])

    return Looked(
        "torch", names, (least, most), (), before, run,
        lambda: _torch_digest(module, counters=False) != trained, float64_problem,
        lambda inputs: call_of(forward, inputs).problem,
        weights=_torch_weights(torch, module), computes=seen, bfloat16=in_bfloat16,
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


def _look_at_keras(keras: Any, model: Any) -> Looked:
    from onnx_conformance.workers.keras.calls import KerasCall

    names = tuple(getattr(model, "output_names", None) or ())
    known = tuple(getattr(model, "inputs", None) or ())
    inputs = tuple(_keras_spec(place, tensor, len(known)) for place, tensor in enumerate(known))
    least, most = (len(known), len(known)) if known else (1, MANY)

    def digest() -> str:
        arrays = {f"{place}": v.numpy() for place, v in enumerate(model.weights)}
        return digest_arrays(arrays)

    def run(input_set: Inputs) -> Answer:
        arrays = [np.array(array) for array in input_set.values()]
        result = KerasCall(model, list(input_set))(arrays)
        if isinstance(result, dict) and all(hasattr(part, "shape") for part in result.values()):
            # in TensorFlow's order, which is that of the names in any exported file
            return {name: np.asarray(result[name]) for name in sorted(result)}
        tensors = [np.asarray(tensor) for tensor in keras.tree.flatten(result)]
        return _named(tensors, names)

    before = digest() if model.built else ""
    return Looked(
        "keras", tuple(spec.name for spec in inputs), (least, most), inputs, before, run,
        lambda: bool(before) and digest() != before, lambda input_set: None,
        weights=_keras_weights(keras, model) if model.built else 0,
        computes=_compute_dtypes(model),
    )  # fmt: skip


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
    own = str(getattr(tensor, "name", "") or "")
    plain = own if own and not own.startswith("keras_tensor") else "input"
    name = plain if count == 1 or plain != "input" else f"input_{place}"
    dims = [f"{name}_dim_{axis}" if dim is None else dim for axis, dim in enumerate(tensor.shape)]
    first = tensor.shape[0] if tensor.shape else None
    spec = TensorSpec(name, (first or BATCH, *dims[1:]), str(tensor.dtype))
    return replace(spec, domain=default_domain(spec.dtype) or Real())


def _look_at_python(function: Any) -> Looked:
    names, least, most = _signature(function)

    def run(input_set: Inputs) -> Answer:
        from onnx_conformance.workers.python.backend import leaves

        arrays = [np.array(array) for array in input_set.values()]
        result = call_of(function, list(input_set))(function, arrays)
        return _named(leaves(result), _labels(result))

    return Looked(
        "python", names, (least, most), (), "", run, lambda: False, lambda input_set: None,
        lambda inputs: call_of(function, inputs).problem,
    )  # fmt: skip


def _signature(function: Any) -> tuple[tuple[str, ...], int, int]:
    """Names of its positional parameters, and the fewest and the most of them."""
    kinds = inspect.Parameter
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return (), 1, MANY
    plain = [p for p in found if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is kinds.empty for p in plain)
    most = MANY if any(p.kind is kinds.VAR_POSITIONAL for p in found) else len(plain)
    return tuple(p.name for p in plain), least, most


def _labels(result: Any) -> tuple[str, ...]:
    """What a dict or a named tuple calls its outputs; nothing where they are nested deeper."""
    parts = result._asdict() if hasattr(result, "_asdict") else result
    if not isinstance(parts, Mapping):
        return ()
    given = {str(name): part for name, part in parts.items() if part is not None}
    plain = all(hasattr(part, "shape") or is_maps(part) for part in given.values())
    return tuple(given) if plain else ()


def _named(found: list[Any], names: tuple[str, ...] = ()) -> Answer:
    """Outputs under their own names, or ``output``, or ``output_0`` and so on."""
    if len(set(names)) == len(names) == len(found) and len(found) > 1:
        return named(names, found)
    return named(_made_up(len(found)), found)


def _made_up(count: int) -> list[str]:
    """What outputs without names of their own are called."""
    return ["output"] if count == 1 else [f"output_{place}" for place in range(count)]


def unnamed(names: Sequence[str]) -> tuple[str, ...]:
    """The outputs, where nobody named them: all or none."""
    own = [name for name in names if not is_keys(name)]
    return tuple(names) if own == _made_up(len(own)) else ()
