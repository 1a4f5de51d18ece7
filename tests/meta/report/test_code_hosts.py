"""Failures as code hosts show them: one line each, with cause and command."""

import json

import pytest

from onnx_conformance.report import code_hosts
from tests.meta.sample_document import full_run, make_document


def test_github_gets_each_failure_in_one_line(monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    lines = code_hosts.github(full_run(failing=True))
    assert lines
    assert all(line.startswith("::error file=") and "\n" not in line for line in lines)
    assert any("reproduce: pytest" in line and "budget: error 41.3x" in line for line in lines)
    assert code_hosts.github(full_run()) == []


def test_elsewhere_nothing_is_printed(monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert code_hosts.github(full_run(failing=True)) == []


def test_a_name_with_separators_stays_one_property(monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    document = full_run(failing=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd,name::x.py").touch()
    document["run"]["models_from"] = ["odd,name::x.py"]
    assert all("file=odd%2Cname%3A%3Ax.py," in line for line in code_hosts.github(document))


@pytest.mark.parametrize("named", [["my_package.models"], ["one.py", "two.py"]])
def test_a_module_or_several_files_are_no_place(monkeypatch, named):
    document = full_run(failing=True)
    document["run"]["models_from"] = named
    places = {found.file for found in code_hosts.findings(document)}
    assert places == {"tests/test_function.py"}


def test_sarif_has_a_result_a_failed_check(tmp_path):
    code_hosts.write_sarif(full_run(failing=True), tmp_path / "a.sarif")
    log = json.loads((tmp_path / "a.sarif").read_text())
    (run,) = log["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert rules == {result["ruleId"] for result in run["results"]}
    assert all(result["level"] == "error" for result in run["results"])
    prints = [result["partialFingerprints"]["caseAndCheck/v1"] for result in run["results"]]
    assert all(len(one) == 64 for one in prints)


def test_a_green_run_has_no_finding(tmp_path):
    code_hosts.write_sarif(make_document([]), tmp_path / "a.sarif")
    assert json.loads((tmp_path / "a.sarif").read_text())["runs"][0]["results"] == []
    code_hosts.write_code_quality(make_document([]), tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == []


def test_gitlab_gets_where_and_how_bad(tmp_path):
    code_hosts.write_code_quality(full_run(failing=True), tmp_path / "a.json")
    (first, *_) = json.loads((tmp_path / "a.json").read_text())
    assert {"description", "check_name", "fingerprint", "severity", "location"} == set(first)
    assert first["location"]["path"] == "tests/test_function.py"
