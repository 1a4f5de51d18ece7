"""Native on a device: the code of CUDA, run on the processor."""

import numpy as np
import pytest

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.compute_modes import EPSILONS
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.native_request import NativeRequest
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.run.worker_client import ProcessWorkerClient

pytestmark = pytest.mark.slow

LIMIT = 120.0
MODEL = resolve_model("simple_net")
FEED = Recipe("normal", batch=4, seed=3).inputs(MODEL.inputs, MODEL.axes)


class Native:
    """A torch worker with simple_net."""

    def __init__(self, double, folder):
        self.worker = ProcessWorkerClient(f"tests.meta.device_doubles:{double}")
        self.request = NativeRequest(MODEL, str(folder / "w.npz"))
        self.ask("prepare", request=self.request)

    def ask(self, method, **arguments):
        return self.worker.call(method, LIMIT, **arguments)

    def run(self, mode):
        (outputs,) = self.ask("run", mode=mode, input_sets=[FEED], request=self.request)
        return next(iter(outputs.values()))


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    made = Native("ProcessorBackend", tmp_path_factory.mktemp("native"))
    made.ask("watch", everywhere="tf32")
    yield made
    made.worker.close()


@pytest.mark.parametrize(
    ("compute_mode", "switch"),
    [("float32 on cpu", "ieee"), ("tf32 on cpu", "tf32"), ("float16 on cpu", "ieee")],
)
def test_a_class_is_switched_whatever_the_models_file_said(native, compute_mode, switch):
    native.ask("seen")
    native.run(compute_mode)
    assert native.ask("seen") == [(switch,) * 3]
    native.run("float32")
    assert native.ask("seen") == [("tf32",) * 3]  # as the file left it


def test_half_precision_is_autocast_and_comes_back_as_float32(native):
    exact, half = native.run("float64"), native.run("float16 on cpu")
    assert half.dtype == np.float32
    error = np.linalg.norm(half - exact) / np.linalg.norm(exact)
    assert EPSILONS["float16"] / 50 < error < 20 * EPSILONS["float16"]


@pytest.mark.parametrize(
    ("form", "switch"), [("cuda", "ieee"), ("cuda_tf32", "tf32"), ("cuda_float16", "ieee")]
)
def test_a_timed_form_waits_for_its_device(native, form, switch):
    """Its first call, which the host's clock reads, and those that no event ends."""
    before = native.ask("waited")
    native.ask("seen")
    rehearsed = native.ask("rehearse", label=form, form=form, inputs=FEED, request=native.request)
    assert native.ask("waited") == before + 1
    assert native.ask("seen") == [(switch,) * 3]
    assert all(array.dtype == np.float32 for array in rehearsed["outputs"].values())
    assert (native.ask("time", label=form, discard=2, calls=3) > 0).all()
    assert native.ask("waited") == before + 3


def test_a_device_on_which_torch_cannot_compute_is_absent(tmp_path):
    native = Native("BrokenBackend", tmp_path)
    try:
        with pytest.raises(CapabilityMissing, match="cannot compute on it"):
            native.run("float32 on cuda")
    finally:
        native.worker.close()
