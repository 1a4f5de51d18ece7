"""The parts of ``make detection``: places, other tools' rules, verdicts and shortfalls."""

import numpy as np
import pytest

from studies.detection.document import figures, percent, rule_numbers, shortfalls, tally
from studies.detection.fault_places import deal
from studies.detection.markdown import page
from studies.detection.measurement import Choice, outcome_of
from studies.detection.mutants import Trial
from studies.detection.rules import COMPARISONS, load_rules
from studies.detection.suite_verdicts import Verdict, read_verdicts
from studies.detection.suspects import within_noise

ONE = np.array([[1.0, 2.0]], np.float32)


@pytest.fixture
def trial_of(tmp_path):
    return lambda verdict: Trial(
        tmp_path / "base" / "a.onnx", "good", "base", "broken", "graph", verdict, "here"
    )


@pytest.fixture
def document_of():
    """A document of image models, each (found, wrong)."""

    def make(**models):
        def numbers(found, wrong):
            return {**tally([]), "found": found, "wrong": wrong, "missed": wrong - found}

        sides = {
            name: {**numbers(*pair), "images": True, "defects": [], "bases": [], "absent": {}}
            for name, pair in models.items()
        }
        overall = numbers(*(sum(column) for column in zip(*models.values(), strict=True)))
        return {
            "date": "2026-01-01",
            "command": "",
            "seconds": 1.0,
            "environment": {"versions": {}, "processor": "", "platform": ""},
            "bars": {"found": 0.99, "families": {"sizes": 0.9}, "alarms": 0},
            "overall": overall,
            "models": sides,
            "families": {},
            "cells": {},
            "checks": {},
            "rules": [],
            "rows": [],
        }

    return make


def sources(*lists):
    return [lambda found=found: list(found) for found in lists]


def test_places_are_dealt_over_all_artifacts_and_both_ends():
    dealt = deal(sources("abcde", "vwxyz"), 5)
    assert [site for _, site in dealt] == ["a", "w", "c", "y", "e"]


def test_no_place_is_dealt_twice():
    dealt = deal(sources("abc", "", "x"), 10)
    assert sorted(site for _, site in dealt) == ["a", "b", "c", "x"]


def test_one_place_is_another_one_at_another_turn():
    taken = {deal(sources("abcde", "vwxyz"), 1, start)[0] for start in range(10)}
    assert len(taken) == 10


def test_sites_are_only_looked_for_where_they_are_wanted():
    def never():
        raise AssertionError("asked")

    assert deal([lambda: ["a"], never], 1) == [(0, "a")]


@pytest.mark.parametrize("rule", load_rules().rules, ids=lambda rule: rule.name)
def test_a_rule_accepts_the_same_and_refuses_another(rule):
    assert rule.accepts([ONE], [ONE])
    assert not rule.accepts([ONE + 0.5], [ONE])
    assert not rule.accepts([ONE[0]], [ONE])
    assert not rule.accepts([], [ONE])


@pytest.mark.parametrize(
    ("name", "got", "expected", "close"),
    [
        ("torch.testing.assert_close", ONE.astype(np.float64), ONE, False),
        ("pytest_torch.leaves_diff", ONE.astype(np.float64), ONE, True),
        ("numpy.testing.assert_allclose", ONE.astype(np.float64), ONE, True),
        ("torch.testing.assert_close", ONE * np.nan, ONE * np.nan, False),
        ("pytest_torch.leaves_diff", ONE * np.nan, ONE * np.nan, True),
        ("numpy.testing.assert_allclose", ONE * np.nan, ONE * np.nan, True),
        ("polygraphy.elemwise", ONE * np.nan, ONE * np.nan, False),
        # far off by one of the two tolerances is not enough for Polygraphy
        ("polygraphy.elemwise", ONE * 1e-9, ONE * 2e-9, True),
        ("polygraphy.elemwise", ONE * 1e6 + 1, ONE * 1e6, True),
        ("polygraphy.elemwise", ONE * 1.01, ONE, False),
    ],
)
def test_comparisons_are_those_of_their_tools(name, got, expected, close):
    assert COMPARISONS[name](got, expected, 1e-5, 1e-5) == close


def test_verdicts_name_the_red_check(tmp_path):
    rows = [
        {"name": "checker", "outcome": "passed", "reason": ""},
        {"name": "interface", "outcome": "failed", "reason": "renamed"},
        {"name": "opset", "outcome": "skipped", "reason": "not run"},
    ]
    case = {"artifact": str(tmp_path / "a.onnx"), "verdict": "failed", "complete": False}
    found = read_verdicts({"cases": [{**case, "checks": rows, "worst_score": None}]})
    assert found == {tmp_path / "a.onnx": Verdict("failed", False, ("interface",), "renamed")}


@pytest.mark.parametrize(
    ("kind", "word", "outcome"),
    [
        ("wrong", "failed", "found"),
        ("wrong", "passed", "missed"),
        ("wrong", "skipped", "missed"),
        ("wrong", "absent", "missed"),
        ("harmless", "passed", "quiet"),
        ("harmless", "failed", "alarm"),
        ("clean", "known_failure", "alarm"),
        ("clean", "absent", "unjudged"),
    ],
)
def test_only_a_red_verdict_finds(trial_of, kind, word, outcome):
    assert outcome_of(trial_of(kind), Verdict(word))["outcome"] == outcome


def test_what_an_edge_finding_alone_tells_counts_apart(trial_of):
    message = outcome_of(trial_of("wrong"), Verdict("passed", edge=("nonfinite",)))
    assert (message["outcome"], message["edge"]) == ("edge", ["nonfinite"])
    red = outcome_of(trial_of("wrong"), Verdict("failed", edge=("nonfinite",)))
    assert red["outcome"] == "found"
    rows = [{"verdict": "wrong", "outcome": outcome} for outcome in ("found", "edge", "missed")]
    numbers = tally(rows)
    assert (numbers["wrong"], numbers["found"], numbers["edge"]) == (2, 1, 1)


def test_a_share_never_rounds_up_to_all():
    assert percent(9999, 10000) == "99.9 %"
    assert percent(0, 0) == "–"


def test_the_bars_hold_on_every_image_model_not_on_average(document_of):
    document = document_of(good=(1000, 1000), poor=(97, 100))
    assert shortfalls(document) == ["poor: 97.0 % of the wrong conversions found, 99% due"]


def test_a_family_with_a_bar_of_its_own_counts_by_itself(document_of):
    document = document_of(good=(990, 1010))
    document["models"]["good"]["images"] = False
    document["families"] = {"sizes": {"found": 8, "wrong": 10}}
    assert shortfalls(document) == [
        "all models: 98.2 % of the wrong conversions found, 99% due",
        "family 'sizes': 80.0 % of the wrong conversions found, 90% due",
    ]


def test_a_false_alarm_and_a_file_without_verdict_fall_short(document_of):
    rows = [
        {"verdict": "harmless", "outcome": "alarm"},
        {"verdict": "clean", "outcome": "unjudged"},
    ]
    document = {**document_of(good=(1, 1)), "overall": tally(rows)}
    assert len(shortfalls(document)) == 3  # and nothing wrong was made


def test_a_rule_that_fails_clean_exports_too_tells_nothing_apart():
    rule = load_rules().rules[0]

    def row(base, verdict, failed):
        return {"model": "m", "base": base, "verdict": verdict, "rules": {rule.name: failed}}

    rows = [row("a", "clean", False), row("b", "clean", True)]
    rows += [row(base, "wrong", True) for base in "ab"] + [row("a", "wrong", False)]
    numbers = rule_numbers(rule, rows)
    assert (numbers["found"], numbers["told"], numbers["clean_alarms"]) == (2, 1, 1)


def test_an_answer_within_noise_makes_a_suspect():
    assert within_noise(ONE, ONE * np.float32(1 + 1e-7), 1e-6)
    assert not within_noise(ONE, ONE * np.float32(1.01), 1e-6)
    assert not within_noise(ONE, ONE * np.nan, 1e-6)
    assert not within_noise(ONE, ONE.astype(np.float64), 1e-6)


def test_a_narrowed_choice_does_not_count_as_the_whole():
    assert Choice().full
    assert not Choice(models=("simple_net",)).full
    assert not Choice(places=1).full


def test_the_page_lists_every_miss(document_of, trial_of):
    row = {**trial_of("wrong").as_row(), **outcome_of(trial_of("wrong"), Verdict("passed"))}
    document = {**document_of(good=(0, 1)), "rows": [{**row, "rules": {"other": True}}]}
    document["shortfalls"] = shortfalls(document)
    text = page(document)
    assert "| good | base | broken | here | other |" in text
    assert "Not met: good: 0.0 %" in text


def test_the_figures_of_the_picture_are_those_of_the_document(document_of):
    document = document_of(m=(9, 10))
    rule = {"name": "other", "found": 5, "told": 4, "clean_alarms": 1, "harmless_alarms": 2}
    found = figures(document | {"rules": [rule]})
    assert [row["name"] for row in found["rules"]] == ["this suite", "other"]
    assert [row["told_apart"] for row in found["rules"]] == [90.0, 40.0]
    assert (found["wrong"], found["found"]) == (10, 9)
