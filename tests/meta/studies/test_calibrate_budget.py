"""The factor that a class needs comes from clean scores; without any there is no answer."""

import pytest

from studies.calibrate_budget import RED, Scores, gather, main, table, verdict

pytestmark = pytest.mark.slow


def case(model, score, *, exporter="torch_dynamo", verdict="passed", reason=""):
    row = {"name": "error_budget", "score": score, "budget": 4.0, "reason": reason}
    return {"model": model, "exporter": exporter, "verdict": verdict, "checks": [row]}


@pytest.fixture
def scores():
    return {"small": Scores([0.2, 0.4], 4.0), "large": Scores([1.0, 2.0], 4.0)}


def test_scores_are_gathered_by_model_and_variant():
    found, absent = {"m": Scores(), "other": Scores()}, set()
    cases = [case("m", 0.5), case("m", 9.0, exporter="torch_dynamo~fp16"), case("other", None)]
    gather({"cases": cases}, "", found, absent)
    assert found["m"].found == [0.5]
    assert found["other"].found == []
    assert not absent


def test_why_nothing_was_judged_is_kept():
    absent = set()
    gather({"cases": [case("m", None, verdict="skipped", reason="no device")]}, "", {}, absent)
    assert absent == {"no device"}


def test_the_worst_decides(scores):
    text, status = verdict(scores)
    assert status == 0
    assert text.startswith("worst 2 of 4 allowed")


def test_a_clean_export_over_the_budget_is_red(scores):
    scores["small"].found.append(4.5)
    text, status = verdict(scores)
    assert status == RED
    assert text.startswith("RED: worst 4.5 of 4")


def test_every_model_has_a_row(scores):
    assert table("cpu", scores).row_count == len(scores)


def test_a_provider_that_is_absent_is_no_pass(capsys):
    assert main(["migraphx", "--model=simple_net", "--n=1"]) == 2
    assert "migraphx: nothing was judged: " in capsys.readouterr().out
