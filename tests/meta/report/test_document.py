"""What a run may say of itself: never more than its cases and its exit status allow."""

from collections import Counter
from types import SimpleNamespace

import pytest

from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.report.document import (
    is_complete,
    make_cases,
    missing,
    missing_words,
    required_tests,
    sentence,
    totals,
    verdict_of,
)

CASE = Case("simple_net", "torch_torchscript", 14, "cpu")
STATIC = Case("simple_net", "torch_torchscript", 14, "cpu", ExportOptions(dynamic_batch=False))


NOTHING_MEASURED = {"score": None, "budget": None, "statistics": {}, "divergence": None}


def rows_of(counts):
    row = {"outcome": "passed", "compared": 1, "reason": "as it should be"}
    return [{"name": name, **row} for name in counts.elements()]


def case_of(verdict, *, complete=True, option=False, score=1.0, int8=False, edge=()):
    shared = {"verdict": verdict, "complete": complete, "option": option, "checks": []}
    precision, decibels = ("int8", 30.0) if int8 else ("float32", None)
    lacks = {} if complete else {"allclose": "", "top5": "float32 itself errs by 0.2"}
    shared |= {"missing": lacks, "edge": list(edge)}
    return {**shared, "worst_score": score, "decibels": decibels, "precision": precision}


def test_a_case_that_ran_everything_is_complete():
    assert is_complete(CASE, rows_of(required_tests(CASE, ordinary=True)), ordinary=True)


@pytest.mark.parametrize("name", sorted(required_tests(CASE, ordinary=True)))
def test_a_case_that_lacks_one_test_is_not(name):
    counts = required_tests(CASE, ordinary=True) - Counter([name])
    assert not is_complete(CASE, rows_of(counts), ordinary=True)


def test_a_skipped_test_is_not_run():
    rows = rows_of(required_tests(CASE, ordinary=True))
    rows[0]["outcome"] = "skipped"
    assert not is_complete(CASE, rows, ordinary=True)


def test_an_option_requires_a_comparison_too():
    assert is_complete(STATIC, rows_of(Counter(["static_batch", "error_budget"])), ordinary=False)
    assert not is_complete(STATIC, rows_of(Counter(["static_batch"])), ordinary=False)


def test_cases_stand_in_the_same_order_in_whatever_order_they_were_judged():
    own = [CASE, Case("resnet18", "torch_torchscript", 14, "cpu")]
    brought = [
        STATIC,
        Case("resnet18", "torch_dynamo", 18, "cpu", ExportOptions(export_params=False)),
    ]
    row = {"name": "allclose", "outcome": "passed", "compared": 1, "reason": ""}
    row |= NOTHING_MEASURED
    run = SimpleNamespace(cases=own)
    orders = [[*own, *brought], [*brought[::-1], *own[::-1]]]
    found = [
        [case["id"] for case in make_cases(run, {case: [dict(row)] for case in order}, {})]
        for order in orders
    ]
    assert found[0] == found[1] == [case.id for case in (*own, *brought)]


@pytest.mark.parametrize(("outcome", "worst"), [("edge", 0.5), ("failed", 660.0)])
def test_the_worst_score_is_of_what_the_verdict_rests_on(outcome, worst):
    row = {"name": "error_budget", "outcome": "passed", "compared": 1, "reason": ""}
    row |= NOTHING_MEASURED | {"score": 0.5, "budget": 4.0}
    other = {**row, "name": "denormals", "outcome": outcome, "score": 660.0}
    [case] = make_cases(SimpleNamespace(cases=[CASE]), {CASE: [row, other]}, {})
    assert case["worst_score"] == worst


@pytest.mark.parametrize(
    ("cases", "status", "verdict", "message"),
    [
        ([case_of("passed")], 0, "passed", "1 of 1 cases passed every check"),
        ([case_of("passed", score=None)], 0, "passed", "(1 of them by allclose alone"),
        ([case_of("passed", int8=True)], 0, "passed", "(1 of them in int8, by what they decide)"),
        ([case_of("passed", complete=False)], 0, "incomplete", "1 incomplete"),
        ([case_of("passed", complete=False)], 5, "incomplete", "0 of 1 cases passed every check"),
        ([case_of("known_failure", complete=False)], 5, "proved nothing", "a known upstream"),
        (
            [case_of("passed", edge=["nonfinite", "empty_batch"]), case_of("passed")],
            0,
            "passed",
            "2 of 2 cases passed every check, 1 with edge findings (◇ nonfinite, empty",
        ),
        (
            [case_of("failed", edge=["nonfinite"])],
            1,
            "red",
            "failed, 1 with edge findings (◇ nonfini",
        ),
        ([case_of("passed", option=True)], 0, "incomplete", "0 of 0 cases passed every check"),
        ([case_of("failed"), case_of("passed")], 1, "red", "1 of 2 cases failed"),
        ([case_of("passed")], 1, "red", "The run failed, though no case did"),
        ([case_of("skipped")], 1, "red", "The run failed, and no case was judged, 1 skipped."),
        ([case_of("passed")], 2, "red", "The run ended early"),
        ([case_of("skipped")], 5, "proved nothing", "Nothing was shown"),
    ],
)
def test_verdict_and_sentence(cases, status, verdict, message):
    numbers = totals(cases)
    assert verdict_of(numbers, status) == verdict
    assert message in sentence(verdict, numbers, status)


def test_what_an_incomplete_case_lacks_is_named_with_its_reason():
    cases = [case_of("passed"), case_of("passed", complete=False), case_of("failed")]
    text = "1 of 3 cases are incomplete: not run or not decided: allclose, top5 (float32 itself"
    assert missing_words(cases).startswith(text)
    assert missing_words([case_of("passed"), case_of("known_failure", complete=False)]) == ""


def test_edge_findings_and_what_does_not_apply_were_run_and_skips_were_not():
    rows = rows_of(required_tests(CASE, ordinary=True))
    by_name = {row["name"]: row for row in rows}
    by_name["nonfinite"]["outcome"] = "edge"
    by_name["empty_batch"]["outcome"] = "not_applicable"
    assert is_complete(CASE, rows, ordinary=True)
    by_name["allclose"] |= {"outcome": "skipped", "reason": "it proves nothing"}
    assert missing(CASE, rows, ordinary=True) == {"allclose": "it proves nothing"}
