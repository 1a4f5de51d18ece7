"""Fourier transforms of replicas: the same function, with the error of turns taken in float32."""

import numpy as np
import pytest
from onnx import TensorProto, helper

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx_conformance.core.compute_modes import REPLICAS  # noqa: E402
from onnx_conformance.core.tolerances import shipped  # noqa: E402
from onnx_conformance.workers.torch.replicas import TorchReplica  # noqa: E402

pytestmark = pytest.mark.slow

ULP = 2.0**-23
FACTOR = 4.0  # of the error budget
TRANSFORMS = {
    "fft": lambda x: torch.view_as_real(torch.fft.fft(x)),
    "ifft": lambda x: torch.fft.ifft(x).imag,
    "rfft": lambda x: torch.view_as_real(torch.fft.rfft(x, norm="ortho")),
    "irfft": lambda x: torch.fft.irfft(torch.fft.rfft(x), n=x.shape[-1]),
    "fft2": lambda x: torch.view_as_real(torch.fft.fft2(x)),
    "irfft2": lambda x: torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[-2:]),
}


def error(transform, length):
    """A replica's error, in float32 epsilons of the result's rms."""
    x = torch.randn(2, 4, length, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = transform(x.double())
        with TorchReplica(shipped("approximation"), REPLICAS[0]):
            found = transform(x)
    assert found.dtype == torch.float32
    return float((found - exact).abs().max() / exact.square().mean().sqrt()) / ULP


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize(("length", "least", "most"), [(16, 1, 12), (15, 4, 100), (400, 100, 6e3)])
def test_a_replica_errs_as_float32_angles_do(name, length, least, most):
    assert least < error(TRANSFORMS[name], length) < most


def of_onnx_runtime(x):
    """The transform of rows of numbers by ONNX Runtime, complex."""
    constant = helper.make_tensor("axis", TensorProto.INT64, [], [1])
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", x.shape[1], numbers])
        for name, numbers in (("x", 1), ("y", 2))
    ]
    node = helper.make_node("DFT", ["x", "", "axis"], ["y"])
    graph = helper.make_graph([node], "dft", shapes[:1], shapes[1:], [constant])
    opsets = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x[..., None]})[0].view(np.complex64)[..., 0]


@pytest.mark.parametrize("length", [99, 320, 400, 1000, 3000])
@pytest.mark.parametrize("inputs", ["random", "impulse", "constant"])
def test_a_replica_errs_as_onnx_runtime_does(length, inputs):
    """Whatever the inputs: an impulse shows the angles of one row of the matrix alone."""
    x = np.full((1, length), 0.3, np.float32)
    if inputs == "random":
        x = np.random.default_rng(0).normal(size=(2, length)).astype(np.float32)
    elif inputs == "impulse":
        x = np.eye(length, dtype=np.float32)[[3, length // 3, length - 2]]
    exact = np.fft.fft(x.astype(np.float64))
    with torch.inference_mode(), TorchReplica(shipped("approximation"), REPLICAS[0]):
        ours = torch.fft.fft(torch.from_numpy(x)).numpy()
    errors = [np.linalg.norm(found - exact) for found in (of_onnx_runtime(x), ours)]
    assert 0.5 < errors[0] / errors[1] < 2


@pytest.mark.parametrize("length", [16, 15, 400])
def test_another_transform_is_far_out_of_that_budget(length):
    x = torch.randn(2, 4, length, generator=torch.Generator().manual_seed(0))
    exact = torch.view_as_real(torch.fft.fft(x))
    budget = FACTOR * error(TRANSFORMS["fft"], length)
    for other in (torch.fft.fft(x.roll(1)), torch.fft.fft(x * (1 + 1e-2 * x)), torch.fft.ifft(x)):
        gap = (torch.view_as_real(other.resolve_conj()) - exact).abs().max()
        assert gap / exact.square().mean().sqrt() / ULP > 2 * budget


def test_a_transform_that_is_too_long_is_left_as_it_is():
    x = torch.randn(1, 4096)
    with torch.inference_mode(), TorchReplica(shipped("approximation"), REPLICAS[0]):
        found = torch.fft.fft(x)
    assert torch.equal(found, torch.fft.fft(x))


def log_power(x, *, periodic=True, floor=1e-6, padding="reflect", gain=1.0):
    window = torch.hann_window(400, periodic=periodic, dtype=x.dtype)
    found = torch.stft(x, 400, 100, window=window, return_complex=True, pad_mode=padding)
    return torch.log(gain * torch.view_as_real(found).square().sum(-1) + floor)


@pytest.mark.parametrize(
    "wrong",
    [{"periodic": False}, {"floor": 1e-5}, {"padding": "constant"}, {"gain": 1.01}],
    ids=str,
)
def test_a_wrong_spectrogram_of_400_is_out_of_its_budget(wrong):
    """A gain that is 0.1 % off is not, by values alone; a floor shows where it is quiet."""
    x = 0.1 * torch.randn(8, 1200, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = log_power(x.double())
        with TorchReplica(shipped("approximation"), REPLICAS[0]):
            error = (log_power(x) - exact).norm()
        assert (log_power(x.double(), **wrong) - exact).norm() > FACTOR * error
