"""The file that ONNX Runtime writes after its own basic, provider-independent optimisations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnx import numpy_helper

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant

FAMILY = "harmless: file"
OPTIMISE = """
import sys
import onnxruntime

options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
options.optimized_model_filepath = sys.argv[2]
options.log_severity_level = 3
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""
LIMIT = 120.0  # seconds


@fault(FAMILY, verdict="harmless", story="ONNX Runtime's offline optimisation, level basic")
def optimised_offline(draft: Draft) -> Iterator[Site]:
    yield Site("whole file", _optimise)


def _optimise(mutant: Mutant) -> None:
    """In a process of its own: ONNX Runtime may not be imported here."""
    model = onnx.ModelProto()
    model.CopyFrom(mutant.model)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(mutant.arrays[tensor.name], tensor.name))
    with TemporaryDirectory() as folder:
        plain, optimised = Path(folder, "plain.onnx"), Path(folder, "optimised.onnx")
        plain.write_bytes(model.SerializeToString())
        command = [sys.executable, "-c", OPTIMISE, str(plain), str(optimised)]
        subprocess.run(command, check=True, timeout=LIMIT, capture_output=True)
        mutant.model.CopyFrom(onnx.load(optimised))
