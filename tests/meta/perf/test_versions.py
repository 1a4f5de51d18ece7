"""May we bump? What was not judged or not timed never reads as 'the same'."""

import json
import venv
from dataclasses import asdict, replace

import numpy as np
import pytest

from onnx_conformance.cli import environments, suite_runs
from onnx_conformance.cli.console import guarded
from onnx_conformance.cli.versions import main, table
from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.project import Project
from onnx_conformance.perf.latency.latency_document import Absence
from onnx_conformance.perf.version_comparison import join
from onnx_conformance.perf.versions_document import (
    answers,
    headline,
    make_document,
    status_of,
    unanswered,
    untimed,
    verdicts,
)
from onnx_conformance.perf.versions_page import render
from tests.meta.perf.latency_rows import document_of, row_of
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow

NOISE = np.random.default_rng(0).uniform(0.97, 1.03, (2, 30))
HERE, OLD, NEW = "cpu", "ort-1", "ort-2"


def case(name, place, verdict="passed", *, complete=True, reason=""):
    checks = [{"name": "error_budget", "outcome": verdict, "reason": reason}]
    scored = verdict != "skipped"
    return {
        "id": f"{name}-route-opset18-{place}",
        "model": name,
        "exporter": "route",
        "opset_requested": 18,
        "opset": 18,
        "provider": place,
        "graph_level": None,
        "verdict": verdict,
        "complete": complete,
        "missing": {},
        "same_bits": True,
        "option": False,
        "decibels": None,
        "worst_score": 0.84 if scored else None,
        "budget": 4.0 if scored else None,
        "checks": checks,
    }


def row(name, place, speed, *, rounds=30):
    noise = NOISE[int(place != HERE)][:rounds]
    seconds = (0.01 / speed * noise).tolist()
    return row_of(f"{name}-route-opset18-{place}", 0.01 / speed, seconds)


def absence(name, place, reason):
    return Absence(name, 1, f"route-opset18-{place}", "red", reason)


def joined(cases, rows=(), absent=(), batches=(1,), others=(OLD, NEW)):
    places = {place: {"reason": "a probe's words"} for place in (HERE, *others)}
    results = {"cases": cases, "environment": {"providers": places}}
    return join(results, document_of(rows, absent), here=HERE, others=others, batches=batches)


@pytest.fixture
def good():
    """Two models, proved and timed at three places; one is slower on ort-1, one faster on ort-2."""
    speeds = {("a", HERE): 1.0, ("a", OLD): 0.8, ("a", NEW): 1.0}
    speeds |= {("b", HERE): 1.0, ("b", OLD): 1.0, ("b", NEW): 1.5}
    cases = [case(*key) for key in speeds]
    return cases, [row(*key, speed) for key, speed in speeds.items()]


def test_the_answer_counts_what_was_shown(good):
    found = joined(*good)
    here, old, new = answers(found)
    assert here == "cpu (here): 2 of 2 cases passed"
    assert "2 of 2 cases passed as here; at batch 1 faster on 0, slower on 1 (worst 0.8" in old
    assert "a route opset 18), 1 not shown to differ" in old
    assert "faster on 1 (best 1.5" in new
    assert status_of(found, red=False) == 0
    assert verdicts(found) == ([], [])


def test_rounds_pair_by_their_index(good):
    """What the machine does in a round hits all places alike, so a ratio does not see it."""
    cases, rows = good
    shaken = np.linspace(1, 5, 30)
    rows = [replace(one, round_seconds=(one.round_seconds * shaken).tolist()) for one in rows]
    ratio = joined(cases, rows).lines[0].cells[OLD].ratios[1]
    assert ratio.high - ratio.low < 0.05
    assert ratio.value == pytest.approx(0.8, abs=0.02)


def test_red_only_there_is_reported_by_name(good):
    cases, rows = good
    bad = case("b", NEW, "failed", reason="output differs")
    cases = [bad if one["id"] == bad["id"] else one for one in cases]
    found = joined(cases, rows)
    assert (
        "1 of 2 cases passed as here, 1 verdict differs: b route opset 18 (red)"
        in (answers(found)[2])
    )
    [text], _ = verdicts(found)
    assert text == "b route opset 18: passed on cpu, ort-1; red on ort-2 (output differs)"
    assert not found.lines[1].cells[NEW].ratios  # however fast, it is no result
    assert status_of(found, red=False) == 1


def test_a_pass_in_part_is_not_proved(good):
    cases, rows = good
    part = case("b", NEW, complete=False)
    found = joined([part if one["id"] == part["id"] else one for one in cases], rows)
    assert (
        "1 of 2 cases passed as here, 1 verdict differs: b route opset 18 (incomplete)"
        in (answers(found)[2])
    )


def test_what_is_known_to_fail_has_a_speed_where_it_was_timed(good):
    cases, rows = good
    known = [case("c", place, "known_failure", reason="of NaN") for place in (OLD, NEW)]
    timed = [row("c", HERE, 1.0), row("c", OLD, 2.0)]
    found = joined([*cases, case("c", HERE), *known], [*rows, *timed])
    cells = found.lines[-1].cells
    assert cells[OLD].ratios[1].low > 1.5
    assert cells[NEW].untimed == {1: "did not pass every check there"}
    assert not cells[OLD].passed


def test_a_place_that_is_known_to_fail_is_answered_for_where_it_was_timed(good):
    cases, rows = good
    known = [case(n, NEW, "known_failure", reason="of NaN") for n in "ab"]
    there = [one for one in cases if one["provider"] != NEW] + known
    assert unanswered(joined(there, rows)) == []
    untimed_there = [one for one in rows if not one.case.endswith(NEW)]
    assert unanswered(joined(there, untimed_there)) == [NEW]


def test_the_headline_tells_what_is_lost_short_of_red(good):
    cases, rows = good
    assert headline(joined(cases, rows), 0) == "Nothing failed, but ort-1 is slower on 1"
    part = case("b", NEW, complete=False)
    cases = [part if one["id"] == part["id"] else one for one in cases]
    assert headline(joined(cases, rows), 0).endswith("slower on 1; ort-2 is not passing on 1")
    faster = [one for one in rows if not one.case.endswith(OLD)]
    assert (
        headline(joined(good[0], faster, others=(NEW,)), 0)
        == "Nothing failed, and nothing is shown to be slower"
    )


def test_known_failures_are_not_red_and_not_proved(good):
    cases, rows = good
    known = [case("c", place, "known_failure", reason="upstream") for place in (HERE, OLD, NEW)]
    found = joined([*cases, *known], rows)
    assert answers(found)[0] == "cpu (here): 2 of 3 cases passed, 1 known to fail"
    assert "2 of 2 cases passed as here" in answers(found)[1]
    assert verdicts(found)[1] == ["c route opset 18: known to fail on cpu, ort-1, ort-2 (upstream)"]
    assert status_of(found, red=False) == 0


@pytest.mark.parametrize("there", [[], [case("a", NEW, "skipped", reason="ort-2: no library")]])
def test_a_place_that_judged_nothing_is_not_the_same(good, there):
    cases, rows = good
    cases = [one for one in cases if one["provider"] != NEW]
    found = joined([*cases, *there], rows)
    assert "nothing was judged there" in answers(found)[2]
    assert ("no library" in answers(found)[2]) == bool(there)
    assert unanswered(found) == [NEW]
    assert status_of(found, red=False) == 5


def test_a_place_that_timed_nothing_is_not_the_same(good):
    cases, rows = good
    rows = [one for one in rows if not one.case.endswith(NEW)]
    found = joined(cases, rows, [absence("a", NEW, "an upstream failure")])
    said = answers(found)[2]
    assert "2 of 2 cases passed as here; at batch 1 no speed was compared: not timed there" in said
    assert "an upstream failure" in said
    assert "not shown to differ" not in said
    assert status_of(found, red=False) == 5


def test_a_batch_size_that_was_not_timed_leaves_the_question_open(good):
    found = joined(*good, batches=(1, 8))
    assert "at batch 8 no speed was compared" in answers(found)[1]
    assert status_of(found, red=False) == 5


def test_rounds_that_do_not_pair_are_no_speed(good):
    cases, rows = good
    rows[1] = row("a", OLD, 0.8, rounds=20)
    found = joined(cases, rows)
    assert "1 without a speed" in answers(found)[1]
    assert any("30 and 20 rounds do not pair" in line for line in untimed(found))


def test_nothing_proved_here_compares_nothing():
    cases = [case("a", HERE, "known_failure", reason="upstream"), case("a", OLD)]
    found = joined(cases, others=(OLD,))
    assert "no case passed every check here" in answers(found)[1]
    assert status_of(found, red=False) == 5


def test_a_run_that_ended_red_is_red_whatever_its_cases_say(good):
    assert status_of(joined(*good), red=True) == 1


def test_the_table_and_the_page_show_every_case(good):
    cases, rows = good
    bad = case("b", NEW, "failed", reason="output differs")
    found = joined([bad if one["id"] == bad["id"] else one for one in cases], rows)
    assert table(found).row_count == 2
    results = {"environment": {"versions": {}}, "run": {"problems": []}}
    document = make_document(found, results, document_of(), 1)
    json.dumps(asdict(document), allow_nan=False)
    page = render(document)
    assert page.count("<svg") == 1
    assert "<td>a</td>" in page
    assert "red on ort-2 (output differs)" in page
    assert "Something failed" in page


def test_recorded_answers_are_compared_with_the_first_of_them_and_not_timed():
    cases = [case(name, place) for name in "ab" for place in (OLD, NEW)]
    results = {
        "cases": cases,
        "environment": {"providers": {OLD: {"reason": "ort-1: driver 570"}}, "versions": {}},
        "run": {"problems": []},
    }
    found = join(results, None, here=OLD, others=(NEW,), batches=())
    assert answers(found) == [
        "ort-1 (driver 570): 2 of 2 cases passed",
        "ort-2: 2 of 2 cases passed as on ort-1",
    ]
    assert status_of(found, red=False) == 0
    assert headline(found, 0) == "Nothing failed, and all that passed on ort-1 passes"
    assert "as fast as" not in render(make_document(found, results, None, 0))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name versions"),
        (["--answers=a=x"], "nothing to compare with"),
        (["--answers=a=x", "--answers=b=y", "1.24.4"], "not timed"),
        (["--answers=a=x", "--answers=b=y", "--batch-size=8"], "not timed"),
    ],
)
def test_what_cannot_be_compared_is_refused(words, told):
    with pytest.raises(UsageError, match=told):
        main(words)


def test_a_version_that_does_not_exist_is_one_line(capsys, monkeypatch, tmp_path):
    def refuse(python, packages):
        raise CapabilityMissing(f"pip cannot install {packages[0]}")

    monkeypatch.setattr(environments, "install", refuse)
    monkeypatch.setattr(venv, "create", lambda home, **_: None)
    monkeypatch.setattr(environments, "project", lambda: Project(tmp_path))
    assert guarded("versions", lambda: main(["9.9.9"])) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == "versions: pip cannot install onnxruntime==9.9.9"


def test_bad_options_are_reported_in_pytests_words(tmp_path):
    with pytest.raises(UsageError, match="^unknown model 'nope'"):
        suite_runs.run_checks(tmp_path, ["--model=nope"])


def test_an_earlier_document_is_never_read(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UsageError, match="select no test"):
        suite_runs.run_checks(tmp_path, ["--model=simple_net", "--deselect=tests"])


@pytest.mark.parametrize("target", ["versions", "openvino"])
def test_the_targets_call_the_tool(target):
    recipe = (ROOT / "Makefile").read_text().partition(f"\n{target}: ")[2]
    assert "$(call OTHERS," in recipe.partition("\n\n")[0]
