"""JSON as it is written: in lines, in pieces, and with NaN and infinity as text."""

import json
import math

import pytest

from onnx_conformance.core.files import write_json

DEEP = {"a": {"b": [{"c": [{"score": 1.5, "é": None}, {}]}], "empty": {}, "pair": (1, 2)}, "z": []}


@pytest.mark.parametrize("data", [DEEP, [], {}, [1, [2, [3, [4, [5, {"six": [7]}]]]]], "text"])
def test_what_is_written_is_what_was_given(tmp_path, data):
    write_json(tmp_path / "d.json", data, "--d")
    assert json.loads((tmp_path / "d.json").read_text()) == json.loads(json.dumps(data))


def test_a_check_of_a_results_document_has_a_line(tmp_path):
    rows = [{"name": "checker", "statistics": {"a": 1.0}}, {"name": "nodes", "details": ["x"]}]
    write_json(tmp_path / "d.json", {"cases": [{"id": "m", "checks": rows}]}, "--d")
    lines = (tmp_path / "d.json").read_text().splitlines()
    assert [json.loads(line.strip().rstrip(",")) for line in lines if "name" in line] == rows


def test_numbers_that_json_has_no_word_for_are_text(tmp_path):
    write_json(tmp_path / "d.json", {"a": math.inf, "b": {"c": {"d": {"e": [math.nan]}}}}, "--d")
    found = json.loads((tmp_path / "d.json").read_text())
    assert found == {"a": "inf", "b": {"c": {"d": {"e": ["nan"]}}}}
