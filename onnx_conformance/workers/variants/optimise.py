"""Files as ONNX Runtime's own optimiser and onnxslim write them."""

from __future__ import annotations

from pathlib import Path

from onnx_conformance.core.errors import CapabilityMissing


def ort_basic(source: Path, target: Path, libraries: list[str]) -> None:
    """Write the file with ONNX Runtime's basic optimisations, which any provider can run."""
    _optimise(source, target, "ORT_ENABLE_BASIC", libraries)


def ort_extended(source: Path, target: Path, libraries: list[str]) -> None:
    """Write it with the extended ones too, which use operators of ONNX Runtime's own domain."""
    _optimise(source, target, "ORT_ENABLE_EXTENDED", libraries)


def ort_all(source: Path, target: Path, libraries: list[str]) -> None:
    """Write it with all optimisations, as a session on this processor would run it."""
    _optimise(source, target, "ORT_ENABLE_ALL", libraries)


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

    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(target)
    register_libraries(options, libraries)
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def onnxslim(source: Path, target: Path) -> None:
    """Write the file as onnxslim does by default."""
    import onnxslim as slimmer

    slimmer.slim(str(source), str(target))
