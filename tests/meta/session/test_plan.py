"""What is computed ahead for cases on a GPU: native beside them, once their provider is known."""

from concurrent.futures import Future

import pytest

from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import Case
from onnx_conformance.core.store import Store
from onnx_conformance.session.conformance_session import ConformanceSession
from onnx_conformance.session.noise_floor import PLAIN, NoiseFloor
from onnx_conformance.session.probe import ProbeResult
from onnx_conformance.session.worker_queue import Clock

TF32 = NoiseFloor("tf32", "cuda")
ON_GPU = Case("simple_net", "torch_torchscript", 14, "cuda_tf32", precision="tf32")


@pytest.fixture
def conformance_session(tmp_path, monkeypatch):
    made = ConformanceSession(Settings(), Store(tmp_path), Clock())
    monkeypatch.setattr(made._native, "artifact", lambda case: Future())
    yield made
    made.close()


@pytest.mark.parametrize(("works", "wanted"), [(True, {PLAIN, TF32}), (False, {PLAIN})])
def test_a_gpus_yardstick_is_planned_where_its_provider_works(
    conformance_session, monkeypatch, works, wanted
):
    submitted, probed = {}, Future()
    probed.set_result(ProbeResult(works, "as it is"))
    monkeypatch.setattr(conformance_session._runtime, "probe", lambda provider: probed)
    monkeypatch.setattr(
        conformance_session._answers,
        "submit_references",
        lambda model, input_sets, noise_floor: submitted.setdefault(noise_floor, []).append(
            len(input_sets)
        ),
    )
    conformance_session.plan({ON_GPU: {"pinned", "repeat"}})
    assert set(submitted) == wanted
    assert {len(times) for times in submitted.values()} == {1}  # all inputs together
    assert len({tuple(times) for times in submitted.values()}) == 1
