"""Known failures: valid as shipped, scoped by glob, check and version, and strict about slips."""

from dataclasses import replace

import pytest
import yaml

from onnx_conformance.catalog.providers import CPU
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.core.errors import ConformanceError, StageFailure, UsageError
from onnx_conformance.core.project import project
from onnx_conformance.core.results import CheckResult
from onnx_conformance.run import known_failures
from onnx_conformance.run.known_failures import (
    EXPORT,
    KnownFailure,
    find_known_failure,
    load_known_failures,
    operator_entry_problems,
    takes_everything,
)
from onnx_conformance.run.selection import Selection, possible_cases, select_cases

SHIPPED = project().known_failures
assert SHIPPED is not None
ENTRIES = [
    KnownFailure(**{**entry, "operators": tuple(entry.get("operators", ()))})
    for entry in yaml.safe_load(SHIPPED.read_text()) or []
]
CASE = Case("resnet18", "torch_dynamo", 14, "cpu")
GOOD = {
    "cases": "resnet18-*",
    "check": "opset",
    "says": "delivered 18",
    "reason": "below opset 18 it keeps 18",
    "link": "https://example.org/1",
    "versions": {},
}


@pytest.fixture
def load(tmp_path):
    """Load a file of the given entries (or text)."""

    def from_entries(entries):
        path = tmp_path / "known.yaml"
        text = entries if isinstance(entries, str) else yaml.safe_dump(entries)
        path.write_text(text)
        return load_known_failures(path, CHECKS)

    return from_entries


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these distributions are installed, and no others."""
    packages = {}
    monkeypatch.setattr(known_failures, "version", packages.get)
    return packages


def entry(**changes):
    return {**GOOD, **changes}


# -- the shipped file ------------------------------------------------------------------------


def test_shipped_file_loads():
    assert set(map(str, load_known_failures(SHIPPED, CHECKS))) <= set(map(str, ENTRIES))


@pytest.mark.parametrize("known", ENTRIES, ids=lambda known: f"{known.cases}/{known.check}")
def test_shipped_entry_is_about_something(known):
    """It covers a possible case, names a check, gates on versions and links to upstream."""
    assert any(known.names(case) for case in (*select_cases(Selection()), *possible_cases()))
    assert known.check == EXPORT or known.check in CHECKS
    assert known.versions
    assert known.link.startswith("https://")


def test_the_version_is_that_of_the_runtime_that_the_case_has(monkeypatch):
    known = KnownFailure(**entry(cases="*", versions={"runtime": "<=1.24.1"}))
    there = replace(CPU, name="there", host="popen", runtime="1.24.1")
    monkeypatch.setattr(known_failures, "PROVIDERS", {"there": there, "cpu": CPU})
    assert known.covers(replace(CASE, provider="there"))
    assert not known.covers(CASE)  # this environment's is newer
    assert known.names(CASE)
    assert known.current


# -- scope -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "covered"),
    [
        ("resnet18-torch_dynamo-opset14-cpu", True),
        ("resnet18-*", True),
        ("*-torch_dynamo-*", True),
        ("resnet*-opset1[45]-*", True),
        ("resnet50-*", False),
        ("RESNET18-*", False),
        ("resnet18", False),
        ("*-torch_*-cuda", False),
    ],
)
def test_cases_are_matched_by_glob_on_the_whole_id(load, glob, covered):
    [known] = load([entry(cases=glob)])
    assert known.covers(CASE) is covered
    assert known.applies(CASE, "opset") is covered


def test_a_variant_is_a_case_of_its_own(load):
    [known] = load([entry(cases="resnet18-torch_dynamo-opset14-*")])
    variant = Case("resnet18", "torch_dynamo", 14, "cpu", ExportOptions(dynamic_batch=False))
    assert not known.covers(variant)


def test_an_entry_covers_its_check_alone(load):
    [known] = load([GOOD])
    assert [check for check in CHECKS if known.applies(CASE, check)] == ["opset"]


def test_a_failed_export_covers_every_check(load):
    [known] = load([entry(check="export")])
    assert all(known.applies(CASE, check) for check in CHECKS)
    assert not any(known.applies(Case("resnet50", "x", 14, "cpu"), check) for check in CHECKS)


def test_first_entry_that_applies_is_found(load):
    first, second = "the first of two entries", "the second of two entries"
    known = load([entry(cases="vgg*"), entry(reason=first), entry(reason=second)])
    assert find_known_failure(known, CASE, "opset").reason == first
    assert find_known_failure(known, CASE, "allclose") is None
    assert str(find_known_failure(known, CASE, "opset")) == f"{first} (https://example.org/1)"


def test_a_provider_is_known_by_what_it_is_and_not_by_its_label(load, monkeypatch):
    """``--engine not-openvino=…`` is another column of the CPU provider."""
    [known] = load([entry(cases="resnet*", provider="OpenVINOExecutionProvider")])
    labels = {"not-openvino": CPU, "mine": replace(CPU, ort_name="OpenVINOExecutionProvider")}
    monkeypatch.setattr(known_failures, "PROVIDERS", labels)
    assert not known.covers(replace(CASE, provider="not-openvino"))
    assert known.covers(replace(CASE, provider="mine"))


def test_of_a_file_without_the_operators_nothing_is_known(load):
    """Nor before the file is there, when strict marks are made: it may lack them, and pass."""
    known = load([entry(operators=["Relu", "Clip"], versions={"runtime": "<99"})])
    assert find_known_failure(known, CASE, "opset", {"Gemm": 2, "Clip": 1}) is known[0]
    assert find_known_failure(known, CASE, "opset", {"Gemm": 2, "Tanh": 1}) is None
    assert find_known_failure(known, CASE, "opset") is None


def row(name, outcome):
    return CheckResult(name, outcome, "").row()


def unexplained(known, rows, nodes):
    return [*filter(None, operator_entry_problems(known, rows, nodes).values())]


def test_an_entry_on_operators_that_explains_nothing_in_a_run_is_stale(load):
    known = [KnownFailure(**entry(cases="*", operators=("Relu",), versions={"runtime": "<99"}))]
    other = replace(CASE, model="other")
    nodes = {CASE: {"Relu": 1}, other: {"Gemm": 1}}

    def stale_entries(ours, theirs="passed"):
        rows = {CASE: ours, other: theirs}
        ended = {c: [row("opset", outcome)] for c, outcome in rows.items()}
        return unexplained(known, ended, nodes)

    [message] = stale_entries("passed")
    assert "explains nothing: " in message
    assert "1 tests of 'opset' passed where a file has Relu" in message
    assert stale_entries("known_failure") == []
    assert stale_entries("skipped") == []
    assert stale_entries("failed") == []
    assert unexplained(known, {CASE: [row("allclose", "passed")]}, nodes) == []


# -- versions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "applies"),
    [
        ({}, True),
        ({"torch": ">=2.9"}, True),
        ({"torch": "<2.9"}, False),
        ({"torch": "==2.9.1"}, True),  # whatever it was built for
        ({"torch": "<=2.9.1"}, True),
        ({"torch": ">=2.9,<3"}, True),
        ({"torch": ">=2.9", "onnx": ">=1.20"}, False),
        ({"torch": ">=2.9", "absent": ">=1"}, False),
    ],
)
def test_versions_gate(load, installed, wanted, applies):
    installed.update(torch="2.9.1+cu128", onnx="1.19.1")
    assert bool(load([entry(versions=wanted)])) is applies


def test_a_nightly_has_the_failures_of_its_version(load, installed):
    installed["torch"] = "2.11.0.dev20260101"
    assert load([entry(versions={"torch": ">=2.9"})])
    assert not load([entry(versions={"torch": ">=2.11"})])


# -- slips -----------------------------------------------------------------------------------

MALFORMED = {
    "no list": (GOOD, "line 1: the file must be a list of entries"),
    "missing key": (
        [GOOD, {k: v for k, v in GOOD.items() if k != "link"}],
        "line 7: 'link' is missing in an entry; required: cases, check",
    ),
    "unknown key": ([entry(strict=False)], "line 6: unknown key 'strict' in an entry; known: case"),
    "no reason": ([entry(reason=None)], "line 4: 'reason' must be a text"),
    "says little": ([entry(says="e")], "line 5: 'says' must have 12 characters or more"),
    "short reason": ([entry(reason="a known bug")], "line 4: 'reason' must have 20 characters"),
    "every case": ([entry(cases="*")], "line 1: 'cases' (*) matches every model by every"),
    "no check": ([entry(check="opzet")], "line 2: unknown check 'opzet'; known: checker"),
    "no link": ([entry(link="here")], "line 3: 'link' must be the address of an issue"),
    "no specifier": ([entry(versions={"torch": "2.9"})], "line 7: 'versions' must map packages"),
    "number for provider": ([entry(provider=1)], "line 4: 'provider' must be a text, not 1"),
    "no end for operators": ([entry(operators=["Relu"])], "must end with a version"),
    "text for operators": ([entry(operators="Relu")], "line 4: 'operators' must be a list"),
}


@pytest.mark.parametrize(("entries", "message"), MALFORMED.values(), ids=MALFORMED)
def test_slip_is_named_by_file_and_line(load, tmp_path, entries, message):
    with pytest.raises(UsageError) as caught:
        load(entries)
    assert message in str(caught.value)
    assert str(tmp_path / "known.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("glob", ["*", "?*", "*-*", "*-cpu", "*-opset14-*", "*opset*", "[a-y]*"])
def test_a_glob_that_takes_every_model_by_every_exporter_is_none(load, glob):
    assert takes_everything(glob)
    with pytest.raises(UsageError, match="matches every model by every exporter"):
        load([entry(cases=glob)])
    with pytest.raises(UsageError, match="matches every model by every exporter"):
        load([entry(cases=glob, provider="CPUExecutionProvider")])
    both = {"provider": "OpenVINOExecutionProvider", "operators": ["Relu"]}
    assert load([entry(cases=glob, **both, versions={"runtime": "<99"})])


@pytest.mark.parametrize("glob", ["resnet*", "m*", "*-torch_dynamo-*", "*net*", "my_net-*-cpu"])
def test_a_glob_that_names_a_model_or_an_exporter_is_one(glob):
    assert not takes_everything(glob)


def test_an_edge_finding_that_an_entry_explains_keeps_it(load):
    known = [KnownFailure(**entry(cases="*", operators=("Relu",), versions={"runtime": "<99"}))]
    nodes = {CASE: {"Relu": 1}, replace(CASE, model="other"): {"Relu": 1}}

    def stale_entries(reason):
        edge = {"name": "opset", "outcome": "edge", "reason": reason}
        right = {"name": "opset", "outcome": "passed", "reason": ""}
        return unexplained(known, dict(zip(nodes, ([edge], [right]), strict=True)), nodes)

    assert stale_entries(f"it is wrong (known upstream: {known[0]})") == []
    assert "explains nothing" in stale_entries("it is wrong")[0]


def test_empty_file_knows_nothing(load):
    assert load("# nothing known\n") == []


@pytest.mark.parametrize(
    ("check", "failure", "explained"),
    [
        ("export", StageFailure("export", "it", "KeyError: 7"), True),
        ("export", StageFailure("export", "it", "torch worker died"), False),
        ("export", StageFailure("runtime", "it", "KeyError: 7"), False),
        ("opset", ConformanceError("KeyError: 7"), True),
        ("opset", StageFailure("export", "it", "KeyError: 7"), False),
    ],
)
def test_another_failure_in_its_place_is_not_known(check, failure, explained):
    known = KnownFailure("*", check, "KeyError: 7", "reason", "link", {})
    assert known.explains(failure) is explained
