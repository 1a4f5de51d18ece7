"""Every check turns its negative control red, in words that name the cause; a right one passes."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.checks.controls import CONTROLS, AlteredSubject, edited
from onnx_conformance.checks.precision import CLASSIFIER, FLOAT16_CASE
from onnx_conformance.checks.registry import CHECKS, PLAIN_CASE, register_check
from onnx_conformance.checks.steps import WITH_MEMORY
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.domains import Mask, Real
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.registry import registering
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.perf.gate.gate_run import score
from onnx_conformance.perf.gate.rules import GateFailure, judge_metric, load_rules
from onnx_conformance.run.subject import Answer
from onnx_conformance.run.user_models import adopt
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow
MEMORY = ROOT / "examples" / "models" / "memory.py"


@pytest.fixture(scope="module")
def right_of(right_of):
    """A right case of a check; the model with memory among them is known to this file alone."""
    _, take_back = registering(lambda: adopt([str(MEMORY)], [WITH_MEMORY.model]), MODELS)
    yield right_of
    take_back()


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_right_conversion_is_green(right_of, check):
    result = check.judge(right_of(check.case))
    assert result.passed, result.reason
    assert result.name == check.name


@pytest.mark.parametrize(
    ("control", "check"),
    [(control, CHECKS[name]) for control in CONTROLS.values() for name in control.says],
    ids=lambda one: one.name,
)
def test_negative_control_is_red_and_its_cause_is_named(right_of, control, check, tmp_path):
    result = check.judge(control(right_of(check.case), tmp_path))
    assert result.outcome == "failed", result.reason
    assert control.says[check.name] in result.reason


def test_each_malformed_input_that_is_accepted_is_red(right, tmp_path):
    refusal, wrong = CHECKS["refusal"], CONTROLS["accepts_anything"](right, tmp_path)
    calls = refusal.calls(wrong.model, wrong.seed)
    assert len(calls) > 1
    assert {refusal.function(wrong, **call).outcome for call in calls.values()} == {"failed"}


def test_every_control_is_some_checks():
    """Beside the checks' own controls there may be more, each tied to a check by its words."""
    assert all(control.says and set(control.says) <= set(CHECKS) for control in CONTROLS.values())
    assert all(check.name in CONTROLS[check.control].says for check in CHECKS.values())


def test_denormals_control_shows_on_denormals_alone(right, tmp_path):
    wrong = CONTROLS["denormals_divided"](right, tmp_path)
    required_tests = [
        check for check in CHECKS.values() if check.required_tests(wrong.model, wrong.case)
    ]
    ordinary = [check for check in required_tests if check.name != "denormals"]
    assert [check.name for check in ordinary if not check.judge(wrong).passed] == []


NATIVE = ["error_budget", "denormals", "allclose", "batch_invariance", "determinism", "top5"]


@pytest.mark.parametrize("name", [*NATIVE, "liveness", "nonfinite"])
def test_native_judged_by_native_is_green(right, name):
    itself = AlteredSubject(right, run=lambda inputs, repeat: Answer(right.native(inputs)))
    result = CHECKS[name].judge(itself)
    assert result.passed, result.reason


def test_inputs_on_which_float32_itself_errs_prove_nothing(right):
    def noisy(inputs):
        exact = right.reference(inputs)
        replica = {name: array * np.float32(1.5) for name, array in exact.native.items()}
        return replace(exact, replicas=(replica,) * 3)

    result = CHECKS["error_budget"].judge(AlteredSubject(right, reference=noisy))
    assert result.outcome == "skipped"
    assert "proves nothing" in result.reason


# -- registering ---------------------------------------------------------------------------------


def check_weather(subject):
    """A check that this module tries to register."""


def test_a_check_without_a_control_cannot_be_registered():
    with pytest.raises(TypeError, match="control"):
        register_check()(check_weather)  # type: ignore[call-arg]
    assert "weather" not in CHECKS


def test_a_check_whose_control_nobody_registered_is_refused():
    with pytest.raises(UsageError, match="unknown negative control 'rain'; known: accepts_any"):
        register_check(control="rain")(check_weather)
    assert "weather" not in CHECKS


def test_a_control_must_say_how_the_check_tells_of_it():
    message = "'nan_replaced' does not say which words of check 'weather' report it"
    with pytest.raises(UsageError, match=message):
        register_check(control="nan_replaced")(check_weather)
    assert "weather" not in CHECKS


def test_random_numbers_are_no_inference(right, tmp_path):
    def edit(model):
        output = model.graph.output[0].name
        last = next(node for node in model.graph.node if output in node.output)
        last.output[list(last.output).index(output)] = "before_noise"
        noise = helper.make_node("RandomNormalLike", ["before_noise"], ["noise"], scale=1e-9)
        total = helper.make_node("Add", ["before_noise", "noise"], [output])
        model.graph.node.extend([noise, total])

    result = CHECKS["inference_mode"].judge(edited(right, tmp_path, edit))
    assert result.outcome == "failed"
    assert "draws random numbers" in result.reason


@pytest.mark.parametrize("name", ["sizes", "rows"])
def test_a_sweep_on_which_native_is_nan_proves_nothing(right, name):
    def nan(inputs):
        exact = right.reference(inputs)
        return replace(exact, native={n: np.full_like(a, np.nan) for n, a in exact.native.items()})

    assert CHECKS[name].judge(AlteredSubject(right, reference=nan)).outcome != "passed"


@pytest.mark.parametrize("domain", [Real(), Mask()])
def test_where_native_is_nan_alone_an_undeclared_mask_is_suspected(right, domain):
    def nan(outputs):
        return {name: np.full_like(array, np.nan) for name, array in outputs.items()}

    def reference(inputs):
        exact = right.reference(inputs)
        replicas = tuple(nan(replica) for replica in exact.replicas)
        return Reference(nan(exact.oracle), nan(exact.native), replicas)

    beside = TensorSpec("mask", ("batch", 4), domain=domain)
    masked = AlteredSubject(
        right,
        reference=reference,
        run=lambda inputs, repeat: Answer(nan(right.native(inputs))),
        model=replace(right.model, inputs=(*right.model.inputs, beside)),
    )
    result = CHECKS["error_budget"].judge(masked)
    assert result.outcome == "skipped"
    assert ("declare domain=Mask()" in result.reason) is (domain == Real())


def test_what_native_refuses_is_reported_and_not_judged(right):
    def refusing(input_sets):
        return ["too odd" if len(f["input"]) % 2 else right.reference(f) for f in input_sets]

    some = AlteredSubject(right)
    some.references = refusing
    result = CHECKS["sizes"].judge(some)
    assert result.passed
    assert "native itself refuses 4 of them (batch=5: too odd)" in result.reason
    some.references = lambda input_sets: ["too odd" for _ in input_sets]
    assert CHECKS["sizes"].judge(some).outcome == "skipped"


def test_a_size_that_the_session_refuses_is_red(right):
    def run(inputs, repeat):
        if len(inputs["input"]) == 17:
            return Answer(None, "InvalidArgument: 17")
        return right.run(inputs, repeat)

    result = CHECKS["sizes"].judge(AlteredSubject(right, run=run))
    assert result.outcome == "failed"
    assert "at 1 of 9 inputs: batch=17: the session refused the inputs" in result.reason


def test_an_output_that_alone_is_still_is_the_models_own(right):
    """A tagger's unused tags leave a case incomplete; a model in which nothing moves is red."""

    def still(inputs, kept):
        exact = right.reference(inputs)

        def stilled(outputs):
            return {n: np.where(np.arange(a.shape[1]) < kept, a, 0.25) for n, a in outputs.items()}

        replicas = tuple(stilled(compute_mode) for compute_mode in exact.replicas)
        return replace(
            exact, oracle=stilled(exact.oracle), native=stilled(exact.native), replicas=replicas
        )

    def verdict(kept):
        return CHECKS["liveness"].judge(
            AlteredSubject(right, reference=lambda inputs: still(inputs, kept))
        )

    assert [verdict(kept).outcome for kept in (5, 1, 0)] == ["passed", "passed", "failed"]


def test_trained_weights_that_hardly_move_leave_a_case_incomplete(right):
    """Nobody trains a model anew for a comparison; weights of the suite's own are red."""

    def faint(inputs, share):
        exact = right.reference(inputs)

        def flattened(outputs):
            return {name: 1.0 + share * array for name, array in outputs.items()}

        replicas = tuple(flattened(compute_mode) for compute_mode in exact.replicas)
        return replace(
            exact, oracle=flattened(exact.oracle), native=flattened(exact.native), replicas=replicas
        )

    def outcome(share, trained):
        subject = AlteredSubject(
            right,
            reference=lambda inputs: faint(inputs, share),
            model=replace(right.model, trained=trained),
        )
        return CHECKS["liveness"].judge(subject).outcome

    for share in (1e-5, 0.0):
        assert outcome(share, trained=True) == "skipped"
        assert outcome(share, trained=False) == "failed"


@pytest.mark.parametrize(
    "case", [PLAIN_CASE, FLOAT16_CASE, CLASSIFIER], ids=lambda case: case.precision
)
def test_the_gate_scores_each_class_of_precision_by_its_own_check(right_of, case):
    right, rule = right_of(case), load_rules().metrics["score"]

    def erring(times):
        """The same file with ``times`` its own error."""

        def run(inputs, repeat):
            float32 = case.precision == "float32"
            exact = right.reference(inputs).oracle if float32 else right.native(inputs)
            found = right.run(inputs).outputs
            wide = {name: exact[name] + times * (found[name] - exact[name]) for name in exact}
            return Answer({name: array.astype(np.float32) for name, array in wide.items()})

        return AlteredSubject(right, run=run)

    before = score(right, "baseline")
    assert not judge_metric(rule, before, score(right, "candidate")).red
    assert judge_metric(rule, before, score(erring(4), "candidate")).red
    with pytest.raises(GateFailure, match=f"{case.id}: the candidate is wrong"):
        score(erring(100), "candidate")
