"""Greedy tokens: which model generates, and which token that is not native's is a fault."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.checks.generation import GreedyDecoding, _flips, check_generation
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.carries import generates
from onnx_conformance.core.case import Case
from onnx_conformance.core.domains import Integers
from onnx_conformance.core.judgement import AnswerLimits
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.inputs.loops import Loop, of_call, without_call
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Answer
from tests.meta.core.test_carries import decoder
from tests.meta.plain_subject import TOLERANCES

TOKENS = TensorSpec("ids", ("batch", "new"), "int64", domain=Integers(0, 9))
POSITIONS = replace(TOKENS, name="position_ids")


def generating(*inputs, logits=("batch", "new", 9)):
    plain = decoder()
    outputs = (TensorSpec("logits", logits), *plain.outputs[1:])
    return replace(plain, inputs=(*inputs, *plain.inputs[1:]), outputs=outputs)


@pytest.mark.parametrize(
    ("inputs", "logits", "found"),
    [
        ([TOKENS], ("batch", "new", 9), ("logits", "ids")),
        ([POSITIONS, TOKENS], ("batch", "new", 9), ("logits", "ids")),
        ([TOKENS], ("batch", 9), ("logits", "ids")),
        ([TOKENS], ("batch", "new", 5), None),  # classes of each token, and no tokens
        ([replace(TOKENS, domain=Integers(3, 9))], ("batch", "new", 16), ("logits", "ids")),
        ([TOKENS, replace(TOKENS, name="other_ids")], ("batch", "new", 9), None),
        ([replace(TOKENS, shape=("batch",))], ("batch", 9), ("logits", "ids")),
    ],
)
def test_which_output_says_the_next_token(inputs, logits, found):
    assert generates(generating(*inputs, logits=logits)) == found


def test_without_memory_nothing_is_generated():
    assert generates(replace(generating(TOKENS), carries=())) is None


def test_a_model_of_several_new_places_a_call_is_not_fed_single_tokens():
    wide = replace(generating(TOKENS), axes=(("past", (decoder().axes[0][1])),))
    assert GreedyDecoding.of(generating(TOKENS)) == GreedyDecoding("logits", "ids", Integers(0, 9))
    assert GreedyDecoding.of(replace(wide, carries=())) is None


GREEDY = GreedyDecoding(
    "logits", "ids", Integers(1, 4)
)  # token 0 may not be fed, whatever its logit
LOOP = Loop([Inputs(ids=np.ones((1, 1), np.int64))])


def flips(*logits, measure="score", error=1e-4):
    def answer(values):
        return {"logits (call 1)": np.array([[values]], np.float64)}

    native = [9.0, 1.0, 2.0, 1.99]
    off = [value + error for value in native]
    reference = Reference(answer(native), answer(off), (answer(native),))
    rule = Rule({"factor": 4, "rtol": 1e-4, "atol_rms": 1e-4}, "")
    return list(_flips(GREEDY, LOOP, reference, answer(logits), AnswerLimits(measure, rule, 8.0)))


def test_native_s_own_token_is_no_flip():
    assert flips(0.0, 1.0, 2.0, 1.99) == []
    assert flips(9.5, 1.0, 2.0, 1.99) == []


@pytest.mark.parametrize(("error", "ties"), [(1e-4, False), (2e-3, True)])
def test_another_token_ties_within_native_s_own_error_and_is_wrong_beyond(error, ties):
    (flip,) = flips(9.0, 1.0, 1.98, 2.0, error=error)
    assert (flip.gap <= flip.allowed) is ties
    words = (
        "greedy token 1 of sample 0 is 3, native's is 2: native's logits of 2 and 3 are 2 and 1.99"
    )
    assert words in str(flip)
    assert "the session's 1.98 and 2 " in str(flip)


def test_without_an_oracle_tokens_tie_within_allclose():
    (flip,) = flips(9.0, 1.0, 1.98, 2.0, measure="allclose")
    assert flip.gap > flip.allowed > 0


def next_token(ids):
    """Logits that favour the token after the one that came in."""
    return np.minimum(ids + 1, 8)[..., None] == np.arange(9)


def judged(error=0.0, later=None, native_logits=next_token):
    """The check on a model that answers these logits at each call, and on a session of it."""

    def answer(loop, off=0.0):
        found = {}
        for call, inputs in enumerate(loop.calls):
            samples, new = inputs["ids"].shape
            best = native_logits(inputs["ids"])
            found[of_call("logits", call)] = best + off * np.sin(np.arange(9.0))
            found[of_call("present_key", call)] = np.ones((samples, 2, new, 4))
        return found

    def reference(loop):
        exact = answer(loop)
        return Reference(exact, answer(loop, error), (answer(loop, -error),))

    def native(inputs):
        found = answer(Loop([inputs]))
        return {without_call(name): array for name, array in found.items()}

    return check_generation(
        SimpleNamespace(
            model=generating(TOKENS),
            seed=0,
            case=Case("d", "torch_dynamo", 18, "cpu"),
            tolerances=TOLERANCES,
            references=lambda input_sets: [reference(one) for one in input_sets],
            reference=reference,
            native=native,
            run=lambda loop: Answer((later or answer)(loop)),
        )
    )


def test_both_sides_are_fed_natives_tokens():
    fed = []

    def watched(loop):
        fed.extend(call["ids"] for call in loop.calls)
        return {
            of_call(name, call): array
            for call, one in enumerate(loop.calls)
            for name, array in native_of(one).items()
        }

    def native_of(one):
        best = np.minimum(one["ids"] + 1, 8)[..., None] == np.arange(9)
        new = one["ids"].shape[1]
        return {"logits": best * 1.0, "present_key": np.ones((len(best), 2, new, 4))}

    result = judged(later=watched)
    assert result.passed, result.reason
    assert result.compared == fed[0].shape[0] * len(fed)
    for before, after in pairwise(fed):
        assert np.array_equal(after[:, 0], np.minimum(before[:, -1] + 1, 8))


@pytest.mark.parametrize("goes_astray", [False, True])
def test_the_token_of_a_tie_is_followed_on_both_ways(goes_astray):
    def tied(ids):
        one, other = ((ids[..., None] + step) % 9 == np.arange(9) for step in (1, 2))
        return one + other * (1.0 - 1e-9)

    def session(loop):
        ids = [call["ids"][:, -1] for call in loop.calls]
        branch = ids[3] != (ids[2] + 1) % 9  # it was fed its own token
        found = {}
        for call, one in enumerate(loop.calls):
            logits, new = tied(one["ids"]), one["ids"].shape[1]
            logits = np.roll(logits, 1, -1) if call == 2 else logits
            if goes_astray and call == 5:
                logits = np.where(branch[:, None, None], np.roll(logits, 4, -1), logits)
            found[of_call("logits", call)] = logits
            found[of_call("present_key", call)] = np.ones((len(logits), 2, new, 4))
        return found

    def swapped(loop):
        found = session(loop)
        third = of_call("logits", 2)
        best = tied(loop.calls[2]["ids"])
        found[third] = np.where(best == 1.0, 1.0 - 1e-9, np.where(best > 0, 1.0, 0.0))
        return found

    result = judged(error=1e-6, later=swapped, native_logits=tied)
    assert result.passed is not goes_astray, result.reason
    words = "greedy token 6 of sample 0" if goes_astray else "of which 3 were followed on both ways"
    assert words in result.reason


def test_logits_on_which_float32_itself_errs_prove_nothing():
    assert judged(error=1e-6).passed
    result = judged(error=0.5)
    assert result.outcome == "skipped"
    assert "prove nothing" in result.reason
