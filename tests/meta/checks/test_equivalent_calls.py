"""Other calls to which native gives the same answers: what is asked where native does not."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.checks.equivalent_calls import check_chunks, check_one_pass
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.inputs.loops import of_call
from onnx_conformance.run.subject import Answer
from tests.meta.core.test_carries import decoder
from tests.meta.plain_subject import TOLERANCES


def answered(loop, place=lambda number: 1.0 + number):
    """Logits that say at which place of the sequence they are, and a past of ones."""
    found, at = {}, 0
    for call, inputs in enumerate(loop.calls):
        new = inputs["ids"].shape[1]
        places = place(np.arange(at, at + new, dtype=np.float64))
        found[of_call("logits", call)] = np.tile(places[None, :, None], (3, 1, 9))
        at += new
        found[of_call("present_key", call)] = np.ones((3, 2, at, 4))
    return found


def subject(native=answered, session=answered):
    def reference(loop):
        if native is None:
            return "too long"
        exact = native(loop)
        plain = {name: array.astype(np.float32) for name, array in exact.items()}
        return Reference(exact, plain, (plain,) * 3)

    def run(loop):
        return Answer({name: a.astype(np.float32) for name, a in session(loop).items()})

    return SimpleNamespace(
        model=decoder(),
        seed=0,
        case=Case("d", "torch_dynamo", 18, "cpu"),
        tolerances=TOLERANCES,
        references=lambda loops: [reference(loop) for loop in loops],
        run=run,
        session=SimpleNamespace(provider="CPUExecutionProvider", placement={}, nodes=lambda _: 0),
        artifact=None,
    )


CHECKS = pytest.mark.parametrize("check", [check_one_pass, check_chunks])


@CHECKS
def test_answers_that_do_not_depend_on_the_division_pass(check):
    result = check(subject())
    assert result.passed, result.reason
    assert result.compared > 0


@CHECKS
def test_where_native_depends_on_it_nothing_is_asked(check):
    def restarting(loop):
        whole = answered(loop)
        return {name: array * len(loop.calls) for name, array in whole.items()}

    result = check(subject(native=restarting))
    assert result.outcome == "not_applicable"
    assert "native's own answers to" in result.reason


@CHECKS
def test_where_native_refuses_nothing_is_asked(check):
    result = check(subject(native=None))
    assert result.outcome == "not_applicable"
    assert "native itself refuses" in result.reason
    assert "(too long)" in result.reason


@CHECKS
def test_a_session_that_refuses_is_red(check):
    one = subject()
    one.run = lambda loop: Answer(None, "call 2 of 8: InvalidArgument")
    result = check(one)
    assert result.outcome == "failed"
    assert "the session refused call 2 of 8" in result.reason
