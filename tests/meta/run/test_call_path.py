"""From a check to ONNX Runtime at most six functions of the library stand on the way."""

import sys
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_conformance.catalog.exporters import EXTERNAL
from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core.case import ExternalCase
from onnx_conformance.core.files import TOLERANCES, file_digest
from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.store import Store
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.subject import Artifact

pytestmark = pytest.mark.slow

PATH = [
    "LiveSubject.run",
    "RunWorkers.answers",
    "RuntimeSide._run",
    "WorkerQueue.call",
    "InProcessWorkerClient.call",  # beside a process: ProcessWorkerClient.call
    "OnnxRuntimeBackend.run",
]
# Where every request arrives in a worker's process, and what waits for an answer meanwhile.
LOOPS = ("onnx_conformance.workers.server", "onnx_conformance.run.clock:Clock.wait")


def functions(frame):
    """The functions of the library on a stack, the outermost first, without those within them."""
    names = []
    while frame is not None:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
        if module.startswith("onnx_conformance") and not f"{module}:{name}".startswith(LOOPS):
            names.append(name)
        frame = frame.f_back
    handing = ("RuntimeSide.submit", "WorkerQueue.submit")  # the judge may not wait yet
    return [n for n in reversed(names) if "<locals>" not in n and n not in handing]


@pytest.fixture
def subject(tmp_path):
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "net", [x], [y])
    path = tmp_path / "net.onnx"
    opset = [helper.make_opsetid("", 14)]
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opset), path)
    specs = [(TensorSpec(name, ("batch", 2), "float32"),) for name in "xy"]
    MODELS.put("call_path", ModelSpec("call_path", "python", *specs, builder=""))
    workers = RunWorkers(Settings(in_process=True), Store(tmp_path / "cache"), Clock())
    artifact = Artifact(path, (path,), (file_digest(path),), inspect(path))
    case = ExternalCase("call_path", EXTERNAL.name, None, "cpu", path=str(path), label="net")
    yield LiveSubject(case, workers, load_tolerances(TOLERANCES), artifact)
    workers.close()
    MODELS.forget("call_path")


def test_six_functions_lead_from_a_check_to_onnx_runtime(subject, monkeypatch):
    import onnxruntime

    stacks, run = [], onnxruntime.InferenceSession.run

    def watched(*arguments):
        judge = sys._current_frames()[threading.main_thread().ident]
        stacks.append(functions(judge) + functions(sys._getframe(1)))
        return run(*arguments)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", watched)
    answer = subject.run(Inputs(x=np.ones((3, 2), np.float32)))
    assert (answer.outputs["y"] == -1).all()
    assert stacks == [PATH]
