"""What is computed ahead for cases on a GPU: native beside them, once their provider is known."""

from concurrent.futures import Future

import pytest

from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import Case
from onnx_conformance.core.store import Store
from onnx_conformance.session.conformance_session import Workbench
from onnx_conformance.session.noise_floor import PLAIN, Yardstick
from onnx_conformance.session.probe import ProbeResult
from onnx_conformance.session.worker_queue import Clock

TF32 = Yardstick("tf32", "cuda")
ON_GPU = Case("simple_net", "torch_torchscript", 14, "cuda_tf32", precision="tf32")


@pytest.fixture
def workbench(tmp_path, monkeypatch):
    made = Workbench(Settings(), Store(tmp_path), Clock())
    monkeypatch.setattr(made._native, "artifact", lambda case: Future())
    yield made
    made.close()


@pytest.mark.parametrize(("works", "wanted"), [(True, {PLAIN, TF32}), (False, {PLAIN})])
def test_a_gpus_yardstick_is_planned_where_its_provider_works(
    workbench, monkeypatch, works, wanted
):
    submitted, probed = {}, Future()
    probed.set_result(ProbeResult(works, "as it is"))
    monkeypatch.setattr(workbench._runtime, "probe", lambda provider: probed)
    monkeypatch.setattr(
        workbench._answers,
        "submit_references",
        lambda model, feeds, yardstick: submitted.setdefault(yardstick, []).append(len(feeds)),
    )
    workbench.plan({ON_GPU: {"pinned", "repeat"}})
    assert set(submitted) == wanted
    assert {len(times) for times in submitted.values()} == {1}  # all feeds together
    assert len({tuple(times) for times in submitted.values()}) == 1
