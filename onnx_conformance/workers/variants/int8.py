"""int8: weights per channel, activations by calibration (static) or batch by batch (dynamic).

Every file is prepared first (``quant_pre_process``: shapes inferred, BatchNorm folded): without
that, quantising a dynamo export fails in shape inference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx

from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.inputs.recipes import Inputs

INT8 = "int8"
# What gains from weights of 8 bits with activations measured as they come. ConvInteger is left
# out: ONNX Runtime's CPU provider runs it slower than float32.
DYNAMIC_OPERATORS = ("MatMul", "Gemm", "Attention", "LSTM", "GRU")
# Probabilities of a thousand classes are far below the 256th part of 1: they would become zeros.
KEPT_IN_FLOAT32 = {"Softmax"}
CPUINFO = Path("/proc/cpuinfo")


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
            _reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted({*QDQRegistry, *QLinearOpsRegistry} - KEPT_IN_FLOAT32),
            per_channel=True,
            reduce_range=_saturates(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
        )


def _prepared(source: Path, folder: Path) -> Path:
    """The file without BatchNorm, one file even where the source has two.

    Symbolic shape inference is left out: it needs a package more, and onnx's own is enough. Shapes
    that are written down are taken out again: the quantiser infers them anew, and where it
    transposes a weight those of a dynamo export contradict it.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    joined, prepared = folder / "joined.onnx", folder / "prepared.onnx"
    onnx.save(load_model(source), joined)
    quant_pre_process(joined, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    del model.graph.value_info[:]
    onnx.save(model, prepared)
    return prepared


def _reader(calls: Iterable[Inputs]) -> Any:
    """The inputs, under the file's names, as the calibrator reads them.

    Calls are of one size, which the collector of histograms wants.
    """
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc] # untyped
        def __init__(self) -> None:
            self._calls = iter([dict(inputs) for inputs in calls])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._calls, None)

    return Reader()


def _saturates() -> bool:
    """Whether this processor adds pairs of products in 16 bits, as x86 does without VNNI.

    Weights then get 7 bits (``reduce_range``), as ONNX Runtime's documentation asks.
    """
    try:
        flags = CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx2" in flags and "vnni" not in flags
