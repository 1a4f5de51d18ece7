"""Variants of an exported file: the worker that makes them, and how each is made.

The worker is a process of its own, whose death harms no other. Half precision is float16 inside and
float32 at the interface. int8 has weights per channel, and activations by calibration (static) or
batch by batch (dynamic).
"""

from __future__ import annotations

import importlib.util
import inspect
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx

from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.server import load_object

# What loses more than it gains in float16, by what the converter's authors found, and operators
# that sum or divide over many elements, whose partial sums leave float16's range first.
KEPT_IN_FLOAT32 = ("Softmax", "LogSoftmax", "ReduceSum", "ReduceMean", "LayerNormalization", "Pow")
# What gains from weights of 8 bits with activations measured as they come. ConvInteger is left
# out: ONNX Runtime's CPU provider runs it slower than float32.
DYNAMIC_OPERATORS = ("MatMul", "Gemm", "Attention", "LSTM", "GRU")
# Probabilities of a thousand classes are far below the 256th part of 1: they would become zeros.
NOT_QUANTISED = {"Softmax"}
CPUINFO = Path("/proc/cpuinfo")


class VariantBackend:
    """Makes one file from another."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def make(
        self,
        function: str,
        needs: str,
        source: str,
        target: str,
        calibration: Sequence[Inputs] | None = None,
        libraries: Sequence[str] = (),
    ) -> None:
        """Write ``target`` from ``source`` by a variant's function.

        Args:
            calibration: inputs of one call each under the spec's names, in the file's own layout,
                for a variant that calibrates.
            libraries: with the file's custom operators, for functions that load them.

        Raises:
            CapabilityMissing: the module that it needs is not installed.
        """
        if needs and importlib.util.find_spec(needs) is None:
            raise CapabilityMissing(f"{needs} is not installed: pip install {needs}")
        make = load_object(function)
        arguments: dict[str, Any] = (
            {} if calibration is None else {"calibration": list(calibration)}
        )
        if "libraries" in inspect.signature(make).parameters:
            arguments["libraries"] = list(libraries)
        make(Path(source), Path(target), **arguments)


# -- half precision


def fp16(source: Path, target: Path) -> None:
    """Convert to float16 all but operators that sum and those of the converter's block list."""
    _convert(source, target, KEPT_IN_FLOAT32)


def fp16_all(source: Path, target: Path) -> None:
    """Convert to float16 all but the operators of the converter's block list."""
    _convert(source, target, ())


def _convert(source: Path, target: Path, kept: tuple[str, ...]) -> None:
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    whole = load_model(source)
    half = float16.convert_float_to_float16(
        whole,
        keep_io_types=True,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *kept, *_custom(whole)],
    )
    _join_casts(half)
    _forget_weights(half)
    # the converter appends the casts of inputs, and a graph must be in topological order
    written = OnnxModel(half)
    written.topological_sort()
    written.prune_graph()
    onnx.save(half, target)


def _custom(whole: onnx.ModelProto) -> set[str]:
    """The custom operators of a file, whose types are not known."""
    known = {schema.domain for schema in onnx.defs.get_all_schemas()} | {"ai.onnx", "com.microsoft"}
    return {node.op_type for node in whole.graph.node if node.domain not in known}


def _forget_weights(half: onnx.ModelProto) -> None:
    """Remove the types of initialisers that the exporter wrote down: initialisers have their own.

    torch_dynamo does, and the converter changes it to float16 though a kept operator (a
    LayerNormalization) reads the initialiser in float32: ONNX's checker refuses such a file.
    """
    weights = {tensor.name for tensor in half.graph.initializer}
    typed = [value for value in half.graph.value_info if value.name not in weights]
    del half.graph.value_info[:]
    half.graph.value_info.extend(typed)


def _join_casts(half: onnx.ModelProto) -> None:
    """Remove the float16 between two operators in float32.

    The converter casts what a kept operator gives to float16, also where float32 reads it next: a
    Softmax at the end would lose every probability below 6e-8.
    """
    narrowed = {
        node.output[0]: node.input[0]
        for node in half.graph.node
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16
    }
    for node in half.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT:
            node.input[0] = narrowed.get(node.input[0], node.input[0])


# -- int8


def int8_dynamic(source: Path, target: Path) -> None:
    """Quantise weights per channel; activations are measured batch by batch."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        prepared = _prepared(source, Path(folder))
        quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=list(DYNAMIC_OPERATORS),
            per_channel=True,
            reduce_range=_saturates(),
            weight_type=QuantType.QInt8,
        )


def int8_static(source: Path, target: Path, calibration: list[Inputs]) -> None:
    """Quantise with ranges calibrated by extremes: nothing is clipped."""
    _quantise(source, target, calibration, "MinMax")


def int8_entropy(source: Path, target: Path, calibration: list[Inputs]) -> None:
    """Quantise with ranges calibrated as TensorRT does: clips where that loses least."""
    _quantise(source, target, calibration, "Entropy")


def int8_percentile(source: Path, target: Path, calibration: list[Inputs]) -> None:
    """Quantise with ranges calibrated by a percentile: outliers are clipped."""
    _quantise(source, target, calibration, "Percentile")


def _quantise(source: Path, target: Path, calibration: list[Inputs], method: str) -> None:
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    with tempfile.TemporaryDirectory() as folder:
        prepared = _prepared(source, Path(folder))
        quantize_static(
            prepared,
            target,
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted({*QDQRegistry, *QLinearOpsRegistry} - NOT_QUANTISED),
            per_channel=True,
            reduce_range=_saturates(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
        )


def _prepared(source: Path, folder: Path) -> Path:
    """The file without BatchNorm and with its shapes inferred, as one where the source has two.

    Unprepared, a dynamo export fails in the quantiser's own shape inference; symbolic inference is
    left out, which needs a package more. Shapes that are written down are taken out again: the
    quantiser infers them anew, and where it transposes a weight those of a dynamo export
    contradict it.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    joined, prepared = folder / "joined.onnx", folder / "prepared.onnx"
    onnx.save(load_model(source), joined)
    quant_pre_process(joined, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    del model.graph.value_info[:]
    onnx.save(model, prepared)
    return prepared


class _Reader:
    """The inputs, under the file's names, as ONNX Runtime's calibrator reads them.

    Calls are of one size, which the collector of histograms wants.
    """

    def __init__(self, calls: Iterable[Inputs]) -> None:
        self._calls = iter([dict(inputs) for inputs in calls])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._calls, None)


def _saturates() -> bool:
    """Whether this processor adds pairs of products in 16 bits, as x86 does without VNNI.

    Weights then get 7 bits (``reduce_range``), as ONNX Runtime's documentation asks.
    """
    try:
        flags = CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx2" in flags and "vnni" not in flags


# -- optimised files


def ort_basic(source: Path, target: Path, libraries: list[str]) -> None:
    """Write the file with ONNX Runtime's basic optimisations, which any provider can run."""
    _optimise(source, target, "ENABLE_BASIC", libraries)


def ort_extended(source: Path, target: Path, libraries: list[str]) -> None:
    """Write it with the extended ones too, which use operators of ONNX Runtime's own domain."""
    _optimise(source, target, "ENABLE_EXTENDED", libraries)


def ort_all(source: Path, target: Path, libraries: list[str]) -> None:
    """Write it with all optimisations, as a session on this processor would run it."""
    _optimise(source, target, "ENABLE_ALL", libraries)


def ort_transformers(source: Path, target: Path) -> None:
    """Write it with the fusions of BERT-like models, which most encoders share.

    Raises:
        CapabilityMissing: the file has nothing that it fuses.
    """
    from onnxruntime.transformers.optimizer import optimize_model

    made = optimize_model(str(source), model_type="bert", opt_level=0, use_gpu=False)
    if not any(made.get_fused_operator_statistics().values()):
        raise CapabilityMissing(f"no attention and no layer norm to fuse in {source.name}")
    made.save_model_to_file(str(target))


def _optimise(source: Path, target: Path, level: str, libraries: list[str]) -> None:
    import onnxruntime as ort

    from onnx_conformance.workers.onnxruntime.open_session import register_libraries
    from onnx_conformance.workers.onnxruntime.trace import optimise

    options = ort.SessionOptions()
    register_libraries(options, libraries)
    optimise(source, level, target, options)


def onnxslim(source: Path, target: Path) -> None:
    """Write the file as onnxslim does by default."""
    import onnxslim as slimmer

    slimmer.slim(str(source), str(target))
