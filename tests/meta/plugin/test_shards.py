"""--shard divides cases by what they cost; joined, a lost, doubled or other shard is red."""

import copy
import json
from collections import Counter

import pytest

from onnx_conformance.cli import merge
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.report import history
from onnx_conformance.report.merged_document import merged
from onnx_conformance.run.shards import costs_of, divided, read_shard, refuse_whole
from tests.meta.running import run_suite
from tests.meta.small_files import write_models, write_product

MODELS = [
    Case(f"model{number}", route, opset, "cpu")
    for number in range(7)
    for route in ("torch_dynamo", "torch_torchscript")
    for opset in (14, 18)
]


def loads(cases, costs, count):
    places, found = divided(cases, costs, count), Counter()
    for case in cases:
        found[places[case.id]] += costs[case.id]
    return places, found


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9, 28])
def test_every_case_is_in_one_shard_and_no_shard_is_empty(count):
    places, found = loads(MODELS, costs_of(MODELS, {}), count)
    assert places.keys() == {case.id for case in MODELS}
    assert found.keys() == set(range(1, count + 1))
    assert max(found.values()) - min(found.values()) <= 4  # one model's


def test_a_model_stays_whole_unless_it_costs_more_than_a_shard():
    costs = costs_of(MODELS, {case.id: 100.0 for case in MODELS if case.model == "model3"})
    costs |= {case.id: 1.0 for case in MODELS if case.model != "model3"}
    places, found = loads(MODELS, costs, 4)
    shards_of = {m: {places[c.id] for c in MODELS if c.model == m} for m in {*map(model, MODELS)}}
    assert [name for name, shards in shards_of.items() if len(shards) > 1] == ["model3"]
    assert max(found.values()) <= 124


def model(case):
    return case.model


def test_a_case_that_was_never_timed_costs_what_others_do():
    known = {case.id: 5.0 for case in MODELS[:9]}
    assert costs_of(MODELS, known)[MODELS[-1].id] == 5.0


@pytest.mark.parametrize("asked", ["0/2", "3/2", "1", "1/", "a/b", "1/99"])
def test_what_is_no_shard_is_refused(asked):
    with pytest.raises(UsageError, match=f"--shard {asked}"):
        read_shard(asked, "", MODELS)


def test_durations_without_a_shard_and_a_file_that_has_none_are_refused(tmp_path):
    with pytest.raises(UsageError, match="give --shard=K/N, too"):
        read_shard("", "r.json", MODELS)
    with pytest.raises(UsageError, match="no results.json of a run"):
        read_shard("1/2", str(tmp_path / "r.json"), MODELS)


def entry(case, verdict="passed"):
    row = {"name": "allclose", "outcome": verdict, "reason": "", "compared": 9}
    told = {"id": case.id, "model": case.model, "provider": "cpu", "verdict": verdict}
    told |= {"complete": True, "missing": {}, "edge": [], "option": False, "resumed": None}
    return told | {"worst_score": 0.5, "decibels": None, "precision": "float32", "checks": [row]}


def document(place, **record):
    shard = read_shard(f"{place}/2", "", MODELS)
    told = shard.record({"tolerances": "same", "packages": "same"}, record.pop("required", ()))
    told |= {"explains": record.pop("explains", {})}
    told["basis"] |= record
    run = {"exit_status": 0, "problems": [], "started": f"2026-01-0{place}", "shard": told}
    seconds = {"wall": 3.0, "processes": 1, "engine": {"export": 1.0}, "waited": {}, "rest": 1.0}
    seconds["jobs"] = {"torch": {"import": 2.0}, f"case{place}": {"checks": 1.0}}
    return {
        "environment": {"processor": f"a{place}", "versions": {}, "providers": {}},
        "run": run,
        "time": seconds,
        "cases": [entry(case) for case in MODELS if shard.admits(case)],
    }


@pytest.fixture
def shards():
    return {"A.json": document(1), "B.json": document(2)}


def test_all_shards_make_the_whole_in_its_order(shards):
    whole = merged(shards, "merge")
    assert whole["run"]["exit_status"] == 0
    assert whole["run"]["verdict"] == "passed"
    assert [case["id"] for case in whole["cases"]] == [case.id for case in MODELS]
    assert whole["time"] == {
        "wall": 3.0, "processes": 2, "engine": {"export": 2.0}, "waited": {}, "rest": 2.0,
        "jobs": {"torch": {"import": 2.0}, "case1": {"checks": 1.0}, "case2": {"checks": 1.0}},
    }  # fmt: skip
    assert whole["environment"]["processor"] == "a1 / a2"


def red(shards, *words):
    run = merged(shards, "merge")["run"]
    assert run["exit_status"] == 1
    for word in words:
        assert word in run["sentence"]


def test_a_lost_shard_is_red(shards):
    del shards["A.json"]
    red(shards, "No results of shard 1/2 were given.")


def test_a_doubled_shard_is_red(shards):
    shards["C.json"] = copy.deepcopy(shards["A.json"])
    red(shards, "Shard 1/2 was given more than once.")


def test_a_case_of_two_shards_is_red(shards):
    shards["A.json"]["cases"] += shards["B.json"]["cases"][:1]
    red(shards, "Several shards judged model1-torch_dynamo-opset14-cpu.")


@pytest.mark.parametrize("part", ["tolerances", "packages"])
def test_a_shard_of_other_code_or_options_is_red(shards, part):
    shards["B.json"] = document(2, **{part: "other"})
    red(shards, f"A.json and B.json are no parts of one run: they differ in {part};")


def test_shards_that_were_divided_otherwise_are_red(shards):
    shards["B.json"]["run"]["shard"] = read_shard("2/3", "", MODELS).record({}, ())
    red(shards, "they differ in the number of shards (2 and 3), tolerances, packages, cases")


def test_a_shard_that_is_red_or_ended_early_is_red(shards):
    shards["B.json"]["run"]["exit_status"] = 2
    red(shards, "The run of B.json ended early (status 2).")
    shards["B.json"]["run"] |= {"exit_status": 1, "problems": ["a model was refused"]}
    red(shards, "a model was refused")


def test_what_is_required_must_have_passed_in_some_shard(shards):
    for place, name in enumerate(shards, 1):
        shards[name] = document(place, required=("cpu",))
    assert merged(shards, "merge")["run"]["exit_status"] == 0
    shards["B.json"] = document(2, required=("cuda",))
    red(shards, "--require cuda: no case passed every check on it")


def test_a_known_failure_that_no_shard_met_is_red():
    told = {"it fails": "A known failure explains nothing: it fails"}
    both = {"A.json": document(1, explains=told), "B.json": document(2, explains=told)}
    red(both, "A known failure explains nothing")
    both["B.json"] = document(2, explains={"it fails": ""})
    assert merged(both, "merge")["run"]["exit_status"] == 0


@pytest.mark.parametrize("what", ["timed", "history"])
def test_what_needs_the_whole_run_is_refused_of_a_shard(what):
    wanted = {"timed": False, "history": False}
    refuse_whole("", **{**wanted, what: True})
    refuse_whole("1/2", **wanted)
    with pytest.raises(UsageError, match="one machine|merge"):
        refuse_whole("1/2", **{**wanted, what: True})


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"schema": 2, "run": {}}', '{"schema": 1, "run": {}}']
)
def test_what_is_no_result_of_a_shard_is_refused(text, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="r.json"):
        merge.read_shard_results(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three files, of which one is wrong, in two shards: their results."""
    folder = tmp_path_factory.mktemp("shards")
    files = [write_product(folder / f"{name}.onnx", wrong=name == "b") for name in "abc"]
    words = ["tests/test_structure.py", f"--models-from={write_models(folder / 'models.py')}"]
    words += ["tests/test_function.py", "--model=product", *(f"--artifact={f}" for f in files)]
    words += ["--provider=cpu", "-k", "checker or allclose", "--no-localize", "--bundles=0"]
    for place in (1, 2):
        (folder / str(place)).mkdir()
    return [
        run_suite(folder / str(place), *words, f"--shard={place}/2", *(["-n2"] * (place == 2)))
        for place in (1, 2)
    ]


@pytest.mark.slow
def test_two_shards_are_joined(runs, tmp_path, capsys):
    names = [{case["exporter"] for case in run.document["cases"]} for run in runs]
    assert sorted(map(len, names)) == [1, 2]
    assert set.union(*names) == {"a", "b", "c"}
    target = tmp_path / "whole.json"
    words = [str(run.results) for run in runs]
    reports = [f"--report-json={target}", f"--report-html={tmp_path / 'whole.html'}"]
    reports.append(f"--history={tmp_path / 'runs'}")
    assert merge.main([*words, *reports]) == 1
    assert "1 of 3 cases failed" in capsys.readouterr().out
    whole = json.loads(target.read_text())
    assert {case["exporter"]: case["verdict"] for case in whole["cases"]}["b"] == "failed"
    assert whole["run"]["problems"] == []
    assert (tmp_path / "whole.html").is_file()
    (kept,) = history.read(tmp_path / "runs")
    assert (kept.verdict, len(kept.cases)) == ("red", 3)
