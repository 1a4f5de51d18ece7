"""Functions that runtimes approximate, and means over many terms: no alarm, and no blindness."""

import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.native_request import NativeRequest
from onnx_conformance.core.tolerances import shipped
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.run.cache_keys import outputs_key
from onnx_conformance.workers.replica_arithmetic import mean_in_order
from tests.meta.cpu_session import cpu_session
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

ULP = 2.0**-23
LIMIT = 120.0
FAR = 40.0  # ten times the budget
REPLICA = "replica-1"


def elu(x):
    return np.where(x > 0, x, np.expm1(x))


def mish(x):
    return x * np.tanh(np.logaddexp(0, x))


# Operator of ONNX -> entry in tolerances.yaml, the function, and the unit of its error at x.
APPROXIMATED = {
    "Sigmoid": ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), np.ones_like),
    "Tanh": ("tanh", np.tanh, np.tanh),
    "Elu": ("elu", elu, np.ones_like),
    "Softplus": ("softplus", lambda x: np.logaddexp(0, x), lambda x: np.logaddexp(0, x)),
    "Mish": ("mish", mish, mish),
}
# As exact as the frameworks' own: these have no entry.
EXACT = {"Exp": np.exp, "Erf": np.vectorize(math.erf)}


# -- the runtime's error curves -----------------------------------------------------------------


@pytest.fixture(scope="module")
def apply(tmp_path_factory, worker_of):
    """ONNX Runtime's CPU kernel of one operator, on a vector."""

    def run(operator, x):
        path = tmp_path_factory.mktemp("operator") / f"{operator}.onnx"
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None]) for n in "xy"]
        graph = helper.make_graph(
            [helper.make_node(operator, ["x"], ["y"])], "g", values[:1], values[1:]
        )
        opsets = [helper.make_opsetid("", 18)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
        session = cpu_session(path)
        worker, sets = worker_of("onnxruntime"), [{"x": x}]
        return worker.call("run", LIMIT, session=session, input_sets=sets)[0]["outputs"]["y"]

    return run


def grid():
    return np.linspace(-30, 20, 200_001, dtype=np.float32)


@pytest.mark.parametrize("operator", APPROXIMATED)
def test_the_runtime_stays_within_its_bound(apply, operator):
    entry, function, unit = APPROXIMATED[operator]
    x = grid() if operator == "Sigmoid" else grid()[np.abs(grid()) > 1e-3]
    exact, bound = x.astype(np.float64), shipped("approximation")[entry]
    error = np.abs(apply(operator, x) - function(exact)) / np.abs(unit(exact)) / ULP
    worst = error[exact < 0].max() if entry == "elu" else error.max()
    assert bound / 2 < worst <= bound


@pytest.mark.parametrize("operator", EXACT)
def test_the_runtime_is_exact_where_no_bound_is_given(apply, operator):
    x = grid()[np.abs(grid()) > 1e-3]
    exact = EXACT[operator](x.astype(np.float64))
    assert np.abs(apply(operator, x) / exact - 1).max() / ULP < 1


# -- replicas -----------------------------------------------------------------------------------


def test_a_mean_in_order_adds_one_term_after_the_other():
    terms = np.random.default_rng(0).random((2, 3, 50, 4), dtype=np.float32)
    total = np.zeros((2, 4), np.float32)
    for row in range(3):
        for column in range(50):
            total += terms[:, row, column]
    expected = total / np.float32(150)
    assert (mean_in_order(terms, (1, 2), keepdims=False) == expected).all()
    assert (mean_in_order(terms, (1, -2), keepdims=True)[:, 0, 0] == expected).all()


def test_a_mean_in_order_errs_where_all_terms_are_alike():
    terms = np.full((1, 112 * 112), 0.7, np.float32)
    error = mean_in_order(terms, (1,), keepdims=False) / np.float64(np.float32(0.7)) - 1
    assert 100 * ULP < abs(error[0]) < 12_544 * ULP


def test_a_mean_of_all_elements_is_an_array_too():
    found = mean_in_order(np.ones((4, 5), np.float32), (0, 1), keepdims=False)
    assert isinstance(found, np.ndarray)  # torch makes a tensor of it, and of no number
    assert found == 1


def test_a_mean_of_no_sample_is_no_sample():
    assert mean_in_order(np.zeros((0, 3, 4), np.float32), (1, 2), keepdims=False).shape == (0,)


@pytest.fixture(scope="module", params=["simple_net", "keras_sequential"])
def without(request, tmp_path_factory, worker_of):
    """Runs a model without approximated functions and means, with and without approximations."""
    model = resolve_model(request.param)
    asked = NativeRequest(model, str(tmp_path_factory.mktemp("w") / "weights.npz"))
    worker = worker_of(model.framework)
    worker.call("prepare", LIMIT, request=asked)
    inputs = Recipe("normal", batch=3).inputs(model.inputs)

    def run(**approximations):
        arguments = {
            "request": replace(asked, **approximations),
            "mode": REPLICA,
            "input_sets": [inputs],
        }
        return worker.call("run", LIMIT, **arguments)[0]["output"]

    return run


def test_other_models_keep_their_noise_floor_bit_for_bit(without):
    assert (without() == without(approximation=shipped("approximation"))).all()


def test_the_bounds_are_part_of_the_replicas_keys_and_of_no_others():
    def key(precisions, approximation):
        return outputs_key("model", "weights", "inputs", precisions, 1, approximation)

    looser = {**shipped("approximation"), "tanh": 9.0}
    both = ("float64", REPLICA)
    assert key(both, looser) != key(both, shipped("approximation"))
    assert key(("float32",), looser) == key(("float32",), shipped("approximation"))


# -- both sides, in whole runs ------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory):
    return certify(tmp_path_factory, "gated_torch", "torch_torchscript", TORCH_FAULTS)


@pytest.fixture(scope="module")
def keras_run(tmp_path_factory):
    return certify(tmp_path_factory, "gated_keras", "tf2onnx_function", KERAS_FAULTS)


TORCH_FAULTS = ("hard_swish", "other_slope", "lost_bias")
KERAS_FAULTS = ("keras_hard_swish", "keras_lost_bias")
BUDGETS = [f"tests/test_function.py::test_{inputs}_inputs" for inputs in ("pinned", "drawn")]
UNEXPLAINED = ("--no-localize", "--bundles=0")


def certify(folders, model, clean, faults=()):
    """Exporter -> outcome and score of each budget."""
    routes = [f"--exporter={route}" for route in (clean, *faults)]
    wanted = [*BUDGETS, *UNEXPLAINED, f"--model={model}", "--opset=14", "--provider=cpu"]
    run = run_suite(folders.mktemp(model), *wanted, *routes, plugin="gated_models")
    found = {}
    for case in run.document["cases"]:
        rows = [row for row in case["checks"] if row["name"] == "error_budget"]
        found[case["exporter"]] = rows
    assert len(found) == 1 + len(faults), run.text
    return found


def all_green(rows):
    return len(rows) > 12 and {row["outcome"] for row in rows} == {"passed"}


def far_out(rows):
    return max(row["score"] or 0.0 for row in rows) > FAR


def test_a_clean_export_of_approximated_functions_is_green_on_all_inputs(torch_run, keras_run):
    assert all_green(torch_run["torch_torchscript"]), torch_run
    assert all_green(keras_run["tf2onnx_function"]), keras_run


def test_small_probabilities_of_a_sigmoid_are_green(tmp_path_factory):
    [rows] = certify(tmp_path_factory, "lone_sigmoid", "tf2onnx_function").values()
    assert all_green(rows), rows


@pytest.mark.parametrize("fault", TORCH_FAULTS)
def test_another_function_is_far_out_of_torchs_budget(torch_run, fault):
    assert far_out(torch_run[fault])


@pytest.mark.parametrize("fault", KERAS_FAULTS)
def test_another_function_is_far_out_of_keras_budget(keras_run, fault):
    assert far_out(keras_run[fault])
