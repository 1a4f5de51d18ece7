"""torch models that nobody foresaw: their oracle, their replicas, and how they are copied."""

import math

import numpy as np
import pytest

from onnx_conformance.core.compute_modes import REPLICAS
from onnx_conformance.core.domains import Choice
from onnx_conformance.core.native_request import NativeRequest
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.ties import CANDIDATES, answered
from onnx_conformance.core.tolerances import shipped
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.workers.replica_arithmetic import LANES, sum_in_lanes

pytestmark = pytest.mark.slow

LIMIT, ULP = 120.0, 2.0**-23
X = TensorSpec("x", ("batch", 6))


@pytest.fixture(scope="module")
def worker(worker_of):
    return worker_of("torch")


@pytest.fixture
def compute(worker, tmp_path):
    """A function from a compute mode and inputs to the outputs of a model of ``strange_torch``."""

    def of(name, *inputs, outputs=("y",)):
        specs = tuple(TensorSpec(one, ("batch",)) for one in outputs)
        spec = ModelSpec(name, "torch", inputs or (X,), specs, f"tests.meta.strange_torch:{name}")
        request = NativeRequest(
            spec,
            str(tmp_path / "w.npz"),
            pretrained=True,
            approximation=shipped("approximation"),
        )
        of.described = worker.call(  # type: ignore[attr-defined]
            "prepare", LIMIT, request=request
        )

        def run(compute_mode, input_set):
            arguments = {"request": request, "mode": compute_mode, "input_sets": [input_set]}
            return worker.call("run", LIMIT, **arguments)[0]

        return run

    return of


def error(found, exact):
    return np.abs(found["y"] - exact["y"]).max() / np.abs(exact["y"]).max()


def test_casts_to_float32_are_lifted_in_the_oracle(compute):
    run, shape = compute("llama", TensorSpec("x", ("batch", 12, 16))), (2, 12, 16)
    inputs = {"x": np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
    exact = run("float64", inputs)
    again = run("float64", {"x": inputs["x"].astype(np.float64) * (1.0 + 1e-12)})
    assert exact["y"].dtype == np.float64
    # whatever passes through float32 moves by a float32 ulp, or not at all
    assert 0 < error(again, exact) < 1e-11
    assert 1e-8 < error(run("float32", inputs), exact) < 1e-6


def test_arithmetic_of_a_whole_number_mask_stays_a_number_in_float64(compute):
    mask = TensorSpec("mask", ("batch", 6), "int64", domain=Choice((0, 1)))
    run = compute("masked", X, mask)
    inputs = {"x": np.ones((1, 6), np.float32), "mask": np.array([[1, 1, 0, 1, 0, 1]])}
    exact = run("float64", inputs)
    assert np.isfinite(exact["y"]).all()
    assert error(run("float32", inputs), exact) < ULP


@pytest.mark.parametrize("name", ["positions", "weight_norm", "branch", "temperature"])
def test_every_way_of_native_computes_it(compute, name):
    run = compute(name)
    inputs = Recipe("normal", batch=3).inputs((X,))
    exact = run("float64", inputs)
    for compute_mode in ("float32", *REPLICAS):
        assert error(run(compute_mode, inputs), exact) < 8 * ULP


def test_both_branches_of_a_condition_are_used(compute):
    compute("branch")
    assert compute.described["unused"] == []


def test_positions_come_with_what_they_were_chosen_from(compute):
    run = compute("longest", outputs=("y", "where"))
    found = run("float64", {"x": np.arange(6, dtype=np.float32)[None]})
    assert found[f"where{CANDIDATES}"].tolist() == [[0, 1, 2, 3, 4, 5]]
    assert list(answered(found)) == ["y", "where"]


def test_the_first_of_equal_whole_numbers_is_no_choice(compute):
    """Another place than the end of a sentence that argmax finds would pass for a tie."""
    run = compute("first_positive", outputs=("y", "where"))
    found = run("float64", {"x": np.float32([[-1, 1, 0, 1, 1, 0]])})
    assert found["where"].tolist() == [1]
    assert list(found) == ["y", "where"]


@pytest.mark.parametrize("name", ["longest"])
def test_a_replica_takes_the_first_of_equals(compute, name):
    run = compute(name, outputs=("y", "where"))
    assert run(REPLICAS[0], {"x": np.ones((1, 6), np.float32)})["where"].tolist() == [[0, 1]]


# -- sums in another order ----------------------------------------------------------------------


def test_a_sum_in_lanes_adds_in_turn_to_running_sums():
    terms = np.random.default_rng(0).random((3, 50), dtype=np.float32)
    queues = np.zeros((3, LANES), np.float32)
    for place in range(50):
        queues[:, place % LANES] += terms[:, place]
    expected = queues.sum(axis=1, dtype=np.float32)
    assert (sum_in_lanes(terms, (1,), keepdims=False) == expected).all()
    assert sum_in_lanes(terms, (0, 1), keepdims=True).shape == (1, 1)
    assert sum_in_lanes(np.zeros((0, 9), np.float32), (1,), keepdims=False).shape == (0,)


def test_a_replica_adds_in_another_order_in_sums_and_in_norms(compute):
    """On equal terms, where the roundings of a running sum do not cancel."""
    long = TensorSpec("x", ("batch", 4, 2304))
    inputs = {"x": np.full((1, 4, 2304), 0.7, np.float32)}
    run = compute("summed", long)
    exact = run("float64", inputs)
    assert error(run("float32", inputs), exact) < 4 * ULP
    assert 4 * ULP < error(run(REPLICAS[0], inputs), exact) < 2304 * 4 / LANES * ULP
    run = compute("group_norm", long)
    assert (
        np.abs(run("float32", inputs)["y"]).max() * 2 < np.abs(run(REPLICAS[0], inputs)["y"]).max()
    )


@pytest.mark.parametrize("replica", REPLICAS)
def test_on_unlike_terms_the_order_hardly_matters(compute, replica):
    run = compute("group_norm", TensorSpec("x", ("batch", 4, 2304)))
    inputs = Recipe("normal", batch=2).inputs((TensorSpec("x", ("batch", 4, 2304)),))
    exact = run("float64", inputs)
    assert error(run(replica, inputs), exact) < 4 * error(run("float32", inputs), exact)


@pytest.mark.parametrize("mean", [10.0, 1000.0])
def test_the_last_replica_takes_group_norms_variance_as_onnx_defines_it(compute, mean):
    """The mean of squares less the mean squared: it errs by the squared ratio of mean to spread."""
    run = compute("group_norm", TensorSpec("x", ("batch", 4, 2304)))
    noise = np.random.default_rng(0).normal(mean, 0.1, (1, 4, 2304))
    inputs = {"x": noise.astype(np.float32)}
    exact = run("float64", inputs)
    ordinary, defined = (error(run(one, inputs), exact) for one in (REPLICAS[0], REPLICAS[-1]))
    assert 20 * ordinary < defined
    assert np.isfinite(defined)


def test_few_terms_are_added_as_ever(compute):
    run = compute("summed")
    inputs = Recipe("normal", batch=4).inputs((X,))
    assert math.isclose(error(run(REPLICAS[0], inputs), run("float32", inputs)), 0.0)


@pytest.mark.parametrize("count", [2, 7, 100])
def test_a_deviation_of_equal_numbers_errs_by_the_rounding_of_their_mean(count):
    torch = pytest.importorskip("torch")
    sums = pytest.importorskip("onnx_conformance.workers.torch.sums")
    equal = torch.full((3, count), 0.37)
    error = sums._std(equal, 1, unbiased=False)
    assert torch.all((error > 0) & (error < 16 * ULP * 0.37))
    spread = torch.linspace(1.0, 2.0, count).repeat(3, 1)
    found, wanted = sums._std(spread, 1, unbiased=False), spread.std(1, unbiased=False)
    assert torch.allclose(found, wanted, rtol=1e-6)
