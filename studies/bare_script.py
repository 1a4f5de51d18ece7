"""A bare script to hold the suite against: the same work, in one process, judging nothing.

    python -m studies.bare_script resnet18 torch_torchscript

imports the framework, builds and calibrates the model, exports it at the route's two opsets and
runs the inferences of the default profile (oracle, native, replicas, ONNX Runtime), without
cache, checks or reports. ``make overhead`` times it against the suite.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from hypothesis import settings

from onnx_conformance.catalog.exporters import EXPORTERS
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.case import ExportOptions
from onnx_conformance.core.compute_modes import REFERENCE_MODES
from onnx_conformance.core.native_request import NativeRequest
from onnx_conformance.inputs.families import FAMILIES
from onnx_conformance.plugin.configuration import register_profiles
from onnx_conformance.workers.server import make_backend
from tests.meta.cpu_session import cpu_session


def main(model_name: str, exporter_name: str) -> None:
    model, exporter = resolve_model(model_name), EXPORTERS[exporter_name]
    register_profiles(Path(tempfile.gettempdir()))
    settings.load_profile("default")
    native = make_backend(model.framework, 1)
    runtime = make_backend("onnxruntime", 1)
    plans = [family(model, 0) for family in FAMILIES.values()]
    judged = [inputs for plan in plans for inputs in plan.reference]
    plain = [inputs for plan in plans for inputs in plan.native]
    ran = [
        *judged,
        *plain,
        *(inputs for plan in plans for inputs in (*plan.runtime, *plan.repeats)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        request = NativeRequest(model, f"{folder}/weights.npz")
        native.prepare(request)
        for opset in (exporter.conservative, exporter.newest):
            path = f"{folder}/{opset}.onnx"
            native.export(
                request=request,
                function=exporter.function,
                opset=opset,
                options=asdict(ExportOptions()),
                path=path,
            )
            session = cpu_session(path)
            runtime.run(session=session, input_sets=ran)
        for mode in REFERENCE_MODES:
            input_sets = judged + (plain if mode == "float32" else [])
            native.run(request=request, mode=mode, input_sets=input_sets)


if __name__ == "__main__":
    main(*sys.argv[1:])
