"""Classes of less precision: native in them, with roundings put in, as a worker computes it."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.case import Case
from onnx_conformance.core.compute_modes import (
    EPSILONS,
    REPLICAS,
    ComputeMode,
    compute_mode,
    compute_modes_of,
)
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.native_request import NativeRequest
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.run.noise_floor import FLOAT32_NOISE_FLOOR, NoiseFloor, noise_floor_of
from onnx_conformance.workers.replica_arithmetic import eleven_bits

pytestmark = pytest.mark.slow

LIMIT = 120.0
CLASSES = ("tf32", "float16", "bfloat16")
FEED = Recipe("normal", batch=4, seed=3)
FLOAT = onnx.TensorProto.FLOAT


@pytest.mark.parametrize(
    "name", ["float64", *compute_modes_of("float32"), *compute_modes_of("tf32"), "tf32 on cuda"]
)
def test_a_way_is_its_name(name):
    assert str(compute_mode(name)) == name


@pytest.mark.parametrize("name", ["replica-4", "float16 replica-9", "float32 replica-1"])
def test_an_unknown_compute_mode_is_refused(name):
    with pytest.raises(ValueError, match=f"no compute mode '{name}'"):
        compute_mode(name)


def test_tf32_has_eleven_bits():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    mantissa, _ = np.frexp(eleven_bits(x))
    assert np.array_equal(mantissa * 2**11, np.round(mantissa * 2**11))
    assert np.abs(eleven_bits(x) / x - 1).max() <= 2.0**-11


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        (Case("m", "e", 18, "cpu"), FLOAT32_NOISE_FLOOR),
        (Case("m", "e", 18, "cpu", precision="int8"), FLOAT32_NOISE_FLOOR),
        (Case("m", "e", 18, "cpu", precision="float16"), NoiseFloor("float16")),
        (Case("m", "e", 18, "cuda"), NoiseFloor("float32", "cuda")),
        (Case("m", "e", 18, "tensorrt_tf32", precision="tf32"), NoiseFloor("tf32", "cuda")),
    ],
)
def test_a_case_has_the_noise_floor_of_its_class_and_device(case, wanted):
    assert noise_floor_of(case) == wanted


@pytest.fixture(scope="module")
def answers(tmp_path_factory, worker_of):
    """simple_net and keras_sequential: way -> output on one set of inputs."""
    found = {}
    for name in ("simple_net", "keras_sequential"):
        model = resolve_model(name)
        request = NativeRequest(model, str(tmp_path_factory.mktemp(name) / "weights.npz"))
        input_sets = [FEED.inputs(model.inputs, model.axes)]
        worker = worker_of(model.framework)
        worker.call("prepare", LIMIT, request=request)
        for one in (
            "float64",
            "float32",
            *(mode for name in CLASSES for mode in compute_modes_of(name)),
        ):
            (outputs,) = worker.call(
                "run",
                LIMIT,
                request=request,
                mode=one,
                input_sets=input_sets,
            )
            found[name, one] = next(iter(outputs.values()))
        with pytest.raises(CapabilityMissing):
            worker.call(
                "run",
                LIMIT,
                request=request,
                mode=str(ComputeMode("tf32", device="nowhere")),
                input_sets=input_sets,
            )
    return found


@pytest.mark.parametrize("model", ["simple_net", "keras_sequential"])
@pytest.mark.parametrize("precision", CLASSES)
def test_a_class_errs_as_its_roundoff_says(answers, model, precision):
    exact = answers[model, "float64"]
    for one in compute_modes_of(precision):
        got = answers[model, one]
        assert got.dtype == np.float32
        error = np.linalg.norm(got - exact) / np.linalg.norm(exact)
        assert EPSILONS[precision] / 50 < error < 20 * EPSILONS[precision]


@pytest.mark.parametrize("model", ["simple_net", "keras_sequential"])
@pytest.mark.parametrize("precision", CLASSES)
def test_replicas_are_ways_of_their_own(answers, model, precision):
    distinct = {answers[model, one].tobytes() for one in compute_modes_of(precision)}
    assert len(distinct) == 1 + len(REPLICAS)


@pytest.mark.parametrize("model", ["simple_net", "keras_sequential"])
def test_native_is_left_as_it_was(answers, model):
    """float32 was computed before the roundings, and its error is its own."""
    exact, native = answers[model, "float64"], answers[model, "float32"]
    assert np.linalg.norm(native - exact) < 100 * EPSILONS["float32"] * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("precision", "wanted"),
    # 1 + 2^-10 is a number of both classes, 1 + 2^-12 of neither; float16 rounds what it gives too
    [("float32", 1 + 2.0**-12), ("float16", 1.0), ("bfloat16", 1.0), ("tf32", 1.0)],
)
def test_a_file_is_rounded_too(tmp_path, precision, wanted):
    """``--against``: an ONNX file in native's place."""
    from onnx_conformance.workers.onnx.backend import open_at

    weight = numpy_helper.from_array(np.array([[1 + 2.0**-12]], np.float32), "w")
    ends = [helper.make_tensor_value_info(name, FLOAT, ["batch", 1]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], [weight])
    path = tmp_path / "one.onnx"
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    (got,) = open_at(path, precision, 1)({"x": np.ones((1, 1), np.float32)})
    assert got.item() == wanted


def _constant_model():
    """A model file whose constant no copy of the module owns, handed on by operators as it is."""
    import torch
    from torch.nn import functional

    constant = torch.tensor([1 + 2.0**-12, 3.0])

    def forward(x):
        kept = functional.dropout(constant, 0.5, training=False)
        wide, _ = torch.broadcast_tensors(kept, x)
        return wide * x

    return constant, forward


def test_what_an_operator_only_hands_on_is_not_rounded_in_place():
    """A dropout in eval mode gives its input, which native and the oracle may share."""
    import torch  # collecting tests imports no framework

    from onnx_conformance.workers.torch.precision import computing

    constant, forward = _constant_model()
    before = constant.clone()
    with torch.inference_mode(), computing(compute_mode("float16")):
        forward(torch.ones(3, 2))
    assert torch.equal(constant, before)


def test_what_an_operator_gives_is_rounded_in_place():
    """The control: results, and what is written in place, are numbers of float16."""
    import torch

    from onnx_conformance.workers.torch.precision import computing

    constant, forward = _constant_model()
    with torch.inference_mode(), computing(compute_mode("float16")):
        output = forward(torch.ones(3, 2))
        written = constant.clone()
        written[:1].mul_(1 + 2.0**-12)
    for each in (output, written):
        assert torch.equal(each, each.half().float())
    assert output[0, 0] == 1.0
