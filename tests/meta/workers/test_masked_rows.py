"""Padded places that attend to nothing: what native leaves open, and what it does not."""

import numpy as np
import pytest
import torch

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core.domains import Mask
from onnx_conformance.core.native_request import NativeRequest
from onnx_conformance.core.spec import Axis, TensorSpec
from onnx_conformance.core.ties import OPEN, choices_in
from onnx_conformance.workers.torch.backend import TorchBackend
from onnx_conformance.workers.torch.masked_rows import MaskedRowsOtherwise
from onnx_conformance.workers.user_model.describe import specify

pytestmark = pytest.mark.slow
LENGTHS = (6, 4, 2)  # of samples of six places


class Windowed(torch.nn.Module):
    """Two layers of attention to the place itself and the one before it.

    Args:
        fill: what is added to scores that are masked; None for torch's own attention.
    """

    def __init__(self, fill=None):
        super().__init__()
        self.fill = fill

    def attend(self, x, kept):
        if self.fill is None:
            return torch.nn.functional.scaled_dot_product_attention(x, x, x, kept)
        scores = x @ x.transpose(1, 2) / 2 + torch.where(kept, 0.0, self.fill).to(x.dtype)
        return torch.nan_to_num(scores.softmax(-1)) @ x

    def forward(self, x, mask):
        places = torch.arange(x.shape[1])
        near = (places - places[:, None]).abs() * 2 - (places > places[:, None]).int() < 3
        kept = near & (places <= places[:, None]) & (mask[:, None] != 0)
        for _ in range(2):
            x = x + self.attend(x, kept)
        return {"y": x, "mean": (x * mask[..., None]).mean(1)}


class Remembering(torch.nn.Module):
    """What attention gave is kept, also that of places which attend to nothing."""

    def forward(self, x, past, mask):
        places = torch.arange(mask.shape[1])
        new = places[past.shape[1] :]
        kept = (places <= new[:, None]) & (mask[:, None] != 0)
        keys = torch.cat([past, x], 1)
        y = torch.nn.functional.scaled_dot_product_attention(x, keys, keys, kept)
        return {"y": y, "present": torch.cat([past, y], 1)}


def test_what_was_left_open_is_so_in_the_state_of_later_calls(tmp_path):
    inputs = (
        TensorSpec("x", ("batch", "new", 4)),
        TensorSpec("past", ("batch", "past", 4)),
        TensorSpec("mask", ("batch", "past+new"), "int64", domain=Mask(side="left")),
    )
    axes = (("past", Axis(0, 9)), ("new", Axis(1, 3)))
    one = Declaration("remembering", Remembering, inputs=inputs, axes=axes)
    spec = specify(one, f"{__name__}:Remembering", (), "calibrated", 0, threads=None)
    request = NativeRequest(spec, str(tmp_path / "weights.npz"))
    backend = TorchBackend(1)
    backend.prepare(request)
    x = np.random.default_rng(0).standard_normal((2, 4, 4)).astype(np.float32)
    mask = np.array([[0, 0, 1, 1], [1, 1, 1, 1]])
    past = np.zeros((2, 0, 4), np.float32)
    calls = [{"x": x[:, :3], "past": past, "mask": mask[:, :3]}, {"x": x[:, 3:], "mask": mask}]
    _, later = backend.loop(request, "float32", calls)
    assert later["present" + OPEN].any(-1).tolist() == [[True, True, False, False], [False] * 4]
    assert "y" + OPEN not in later


def added():
    return Windowed(-1e9)


def lowest():
    return Windowed(float(np.finfo(np.float32).min))


def infinite():
    return Windowed(-np.inf)


@pytest.fixture(
    scope="module", params=[Windowed, added, lowest, infinite], ids=lambda one: one.__name__
)
def answer(request, tmp_path_factory):
    builder = request.param
    inputs = (
        TensorSpec("x", ("batch", "places", 4)),
        TensorSpec("mask", ("batch", "places"), "int64", domain=Mask()),
    )
    one = Declaration("windowed", builder, inputs=inputs)
    spec = specify(one, f"{__name__}:{builder.__name__}", (), "calibrated", 0, threads=None)
    asked = NativeRequest(spec, str(tmp_path_factory.mktemp("native") / "weights.npz"))
    backend = TorchBackend(1)
    backend.prepare(asked)
    x = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)
    mask = (np.arange(6) < np.array(LENGTHS)[:, None]).astype(np.int64)

    def run(mask, precision="float32"):
        return backend.run(asked, precision, [{"x": x, "mask": mask}])[0]

    return run(mask), run(np.ones_like(mask)), run(mask, "float64")


def test_places_that_attend_to_nothing_are_left_open(answer):
    opened = answer[0]["y" + OPEN].any(-1)
    wanted = [np.arange(6) > length for length in LENGTHS]  # the first padded one sees the last
    assert opened.tolist() == np.array(wanted).tolist()


def test_what_others_read_is_not(answer):
    assert "mean" + OPEN not in answer[0]
    assert not [name for row in answer[1:] for name in row if name.endswith(OPEN)]


@pytest.mark.parametrize(
    ("place", "value", "kept"),
    [((2, 5), 9.0, False), ((2, 5), np.nan, True), ((2, 2), 9.0, True), ((0, 5), 9.0, True)],
    ids=["attends to nothing", "not finite", "padded alone", "no padding"],
)
def test_any_finite_number_is_right_there_and_nowhere_else(answer, place, value, kept):
    found = choices_in({}, [answer[0]])["y"]
    got = np.array(answer[0]["y"])
    got[place] = value
    settled = found.settled(answer[0]["y"], got, 0.0)
    assert np.array_equal(settled, got, equal_nan=True) is kept
    assert np.array_equal(settled, answer[0]["y"]) is not kept


@pytest.mark.parametrize("width", [4, 2])
def test_attention_is_computed_otherwise_whichever_kernel_torch_takes(width):
    """Values of another width than the keys (DeepSeek's) are no matter for the fused one."""
    query, keys, values = (
        torch.randn(1, 2, 3, 4),
        torch.randn(1, 2, 5, 4),
        torch.randn(1, 2, 5, width),
    )
    mask = torch.arange(3)[:, None] > torch.zeros(5)
    with torch.inference_mode():
        native = torch.nn.functional.scaled_dot_product_attention(query, keys, values, mask)
        with MaskedRowsOtherwise() as mode:
            other = torch.nn.functional.scaled_dot_product_attention(query, keys, values, mask)
    assert mode.found
    assert torch.allclose(other[:, :, 0], values.mean(2))
    assert torch.allclose(other[:, :, 1:], native[:, :, 1:])
