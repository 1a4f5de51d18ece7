"""Known faults upstream explain a red row, and excuse nothing."""

from dataclasses import replace

import pytest
import yaml

from onnx_conformance.checks import upstream_faults
from onnx_conformance.checks.upstream_faults import (
    explanations,
    load_upstream_faults,
    shipped_faults,
)
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import StageFailure, UsageError
from onnx_conformance.diagnose.messages import failure_message
from onnx_conformance.report import html, markdown
from tests.meta.sample_document import fail, make_case, make_document

CASE = Case("m", "torch_torchscript", 14, "cpu")
GOOD = {
    "fault": "the exporter loses the negative numbers",
    "way_round": "export at opset 16 or above instead",
    "operators": ["Div", "Floor"],
    "exporter": "torch_*",
    "opset": "<16",
    "checks": ["error_budget"],
    "says": "differs from native",
    "issue": "https://example.org/1",
}
TEXT = "output 'output' differs from native torch"


@pytest.fixture
def load(tmp_path):
    def from_entry(**changes):
        path = tmp_path / "faults.yaml"
        path.write_text(yaml.safe_dump([{**GOOD, **changes}]))
        return load_upstream_faults(path)[0]

    return from_entry


def test_the_shipped_file_is_valid_and_each_entry_is_narrow():
    for one in shipped_faults():
        assert one.says or one.operators
        assert one.versions, one.fault
        assert not one.issue or one.issue.startswith("https://")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("3 inputs ['x', 'net/norm/Sub/y:0', 'net/norm/Sqrt/x:0'], expected 1: ['x']", "outside"),
        ("2 inputs ['x', 'y'], expected 1: ['x']", ""),
        ("2 inputs ['x:0', 'y:0'], expected 1: ['x:0']", ""),
        ("tf2onnx_function has no translation of the operator StatefulPartitionedCall", "groups"),
        ("first wrong at Div 'Div__60' (node 0): error 0 (0x float32's own) before it", "round"),
        ("first wrong at Div 'net/truediv' (node 9): error 0 (0x float32's own) before it", ""),
    ],
)
def test_tf2onnx_is_named_for_its_own_faults_alone(text, word):
    case = Case("m", "tf2onnx_function", 18, "cpu")
    told = [
        one.fault
        for one in shipped_faults()
        if "tf2onnx" in one.versions and one.explains(case, "error_budget", text, ["Div"], 18)
    ]
    assert len(told) == bool(word)
    assert all(word in fault for fault in told)


def test_what_is_reported():
    text = str(upstream_faults.UpstreamFault("it is wrong", "do it otherwise", issue="https://x"))
    assert text == "known upstream: it is wrong (https://x); workaround: do it otherwise"


@pytest.mark.parametrize(
    ("changes", "explained"),
    [
        ({}, True),
        ({"case": replace(CASE, exporter="keras_export")}, False),
        ({"check": "liveness"}, False),
        ({"text": "another failure"}, False),
        ({"operators": {"Div": 1}}, False),  # all of them must be there
        ({"opset": 18}, False),
    ],
)
def test_everything_that_an_entry_names_must_match(load, changes, explained):
    about = {
        "case": CASE,
        "check": "error_budget",
        "text": TEXT,
        "operators": {"Div": 2, "Floor": 1},
        "opset": 14,
        **changes,
    }
    assert load().explains(**about) is explained


@pytest.mark.parametrize(("wanted", "explained"), [("<99", True), ("<0.1", False)])
def test_an_entry_is_of_the_versions_in_which_it_was_seen(load, wanted, explained):
    for package in ("runtime", "numpy"):
        one = load(versions={package: wanted})
        about = (CASE, "error_budget", TEXT, {"Div": 1, "Floor": 1}, 14)
        assert one.explains(*about) is explained
    assert not load(versions={"no_such_package": "<99"}).explains(*about)


@pytest.mark.parametrize(
    ("changes", "expected_text"),
    [
        ({"unknown": 1}, "unknown key 'unknown' in an entry; known: fault"),
        ({"fault": "bad"}, "'fault' must have 20 characters"),
        ({"operators": "Div"}, "'operators' must be a list"),
        ({"operators": [], "says": ""}, "give 'says' or 'operators'"),
        ({"checks": ["weather"]}, "unknown check 'weather'"),
        ({"says": "("}, "'says' must be a regular expression"),
        ({"opset": "16"}, "'opset' must be a specifier, such as '<16'"),
    ],
)
def test_a_slip_is_named(load, changes, expected_text):
    with pytest.raises(UsageError, match="faults.yaml, line ") as caught:
        load(**changes)
    assert expected_text in str(caught.value)


def test_the_line_stands_in_the_message_and_on_the_pages(load, monkeypatch):
    monkeypatch.setattr(upstream_faults, "shipped_faults", lambda: (load(),))
    text = explanations(CASE, "error_budget", TEXT, {"Div": 1, "Floor": 1}, 14)
    assert text == (
        "known upstream: the exporter loses the negative numbers (https://example.org/1); "
        "workaround: export at opset 16 or above instead",
    )
    message = failure_message(CASE, StageFailure("export", "it", "no"), "pytest x", None, text)
    assert f"  {text[0]}\n  reproduce: pytest x" in message
    case = fail(make_case("m", "torch_torchscript", 14), "error_budget", 41.3)
    for check in case["checks"]:
        check["upstream"] = list(text)
    document = make_document([case], "red", "1 of 1 cases failed.")
    assert "the exporter loses the negative numbers" in html.render(document)
    assert "the exporter loses the negative numbers" in markdown.render(document)
    assert html.render(document).count("✗ Red") > 0


@pytest.mark.parametrize(
    ("exporter", "says", "told"),
    [
        (
            "torch_torchscript",
            "[TypeInferenceError] Invalid attribute perm {0, -2, -1, 1}, in",
            True,
        ),
        (
            "torch_torchscript",
            "[TypeInferenceError] Invalid attribute perm {0, 2, 3, 1}, in",
            False,
        ),
        ("torch_dynamo", "no translation of the operator aten::searchsorted.Tensor; give", True),
        ("torch_dynamo", "no translation of the operator aten::searchsorted_like; give", False),
        ("torch_dynamo", "only 4D query, key, and value are supported", True),
        ("torch_torchscript", "only 4D query, key, and value are supported", False),
    ],
)
def test_shipped_entries_know_their_message_and_no_other(exporter, says, told):
    case = replace(CASE, exporter=exporter)
    versions = {"torch": "2.15.0", "onnxscript": "0.7.2"}
    found = [
        one
        for one in shipped_faults()
        if one.versions.keys() <= versions.keys()
        and replace(one, versions={}).explains(case, "checker", says, {"Transpose"}, 18)
    ]
    assert bool(found) is told
