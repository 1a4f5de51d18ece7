"""Fourier transforms of replicas: the same function, with the error of turns taken in float32."""

import pytest

torch = pytest.importorskip("torch")

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
    """A gain that is 0.1 % off is not, by values alone."""
    x = torch.randn(8, 1200, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = log_power(x.double())
        with TorchReplica(shipped("approximation"), REPLICAS[0]):
            error = (log_power(x) - exact).norm()
        assert (log_power(x.double(), **wrong) - exact).norm() > FACTOR * error
