"""The study of models that nobody here chose: its entries, and how a run is read."""

import json
import zipfile
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from studies.wild import wheel_files
from studies.wild.__main__ import judged, with_files
from studies.wild.entries import HERE, Entry, read_entries, runs
from studies.wild.verdict_table import key_of, read_rows, write_table

PLAIN = Entry("m", models="blocks", exporter="torch_dynamo", origin="torch")


def document(*checks, complete=True, problems=(), missing=None):
    rows = [{"name": n, "outcome": o, "reason": why, "upstream": []} for n, o, why in checks]
    case = {
        "model": "m",
        "exporter": "torch_dynamo",
        "option": False,
        "checks": rows,
        "complete": complete,
        "missing": missing or {},
    }
    return {"cases": [case] if checks else [], "run": {"problems": list(problems)}}


def test_every_entry_is_told_apart_and_says_why_it_is_not_to_pass():
    entries = read_entries()
    assert max(Counter(map(key_of, entries)).values()) == 1
    for entry in entries:
        assert entry.want == "passed" or entry.why, entry.id
        assert not entry.models or (HERE / f"{entry.models}.py").is_file()
    assert sum(map(len, runs(entries))) == len(entries)


@pytest.mark.parametrize(
    ("written", "got"),
    [
        (document(("rows", "passed", "")), "passed"),
        (document(("rows", "passed", ""), complete=False, missing={"rows": "few"}), "incomplete"),
        (document(("rows", "failed", "differs")), "red"),
        (document(("rows", "error", "internal error in check rows: KeyError")), "internal error"),
        (document(problems=["model 'm' was refused: no range"]), "refused"),
        (document(problems=["model 'other' was refused"]), "nothing"),
        (None, "crashed"),
    ],
)
def test_how_a_run_is_read(written, got):
    assert judged(PLAIN, 1, "Traceback", written, 1.0).got == got


def test_a_run_of_bad_input_is_a_refusal():
    assert judged(PLAIN, 4, "ERROR: model 'm' has no range", None, 1.0).got == "refused"


def test_rows_of_what_was_not_judged_now_are_kept(tmp_path):
    other = Entry("other", want="red", why="lost", origin="torch", exporter="torch_dynamo")
    target = tmp_path / "wild.json"
    passed = judged(PLAIN, 0, "", document(("rows", "passed", "")), 2.0)
    write_table([PLAIN, other], [passed], target)
    failed = judged(other, 0, "", None, 2.0)
    write_table([PLAIN, other], [failed], target)
    assert set(read_rows(target)) == {key_of(PLAIN), key_of(other)}
    figures = json.loads(target.read_text())["figures"]
    assert (figures["passed_rightly"], figures["crashes_and_internal_errors"]) == (1, 1)
    page = target.with_suffix(".md").read_text()
    assert "| m | torch_dynamo | passed | yes |" in page
    assert "**no**: red" in page


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with one file: a product with a matrix, and a Relu."""
    rows = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    kinds = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 8]) for n in "xy"]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", kinds[:1], kinds[1:], [onnx.numpy_helper.from_array(rows, "w")]
    )
    monkeypatch.setattr(wheel_files, "FOLDER", tmp_path)
    with zipfile.ZipFile(tmp_path / "some_pkg-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("some_pkg/m.onnx", helper.make_model(graph).SerializeToString())
    wheel_files.fetched.cache_clear()
    return Entry("m@scaled", wheel="some_pkg==1.0", file="some_pkg/m.onnx", edit="scaled")


def test_a_file_of_a_wheel_is_judged_against_its_edit(wheel):
    found = with_files(wheel)
    before, after = (onnx.load(path).graph for path in (found.against, found.artifact))
    ratio = onnx.numpy_helper.to_array(after.initializer[0]) / onnx.numpy_helper.to_array(
        before.initializer[0]
    )
    assert ratio == pytest.approx(1.01)
    bypassed = with_files(replace(wheel, edit="bypassed"))
    assert [n.op_type for n in onnx.load(bypassed.artifact).graph.node] == ["MatMul", "Identity"]
    assert with_files(replace(wheel, edit="")).artifact == found.against


def test_what_is_not_in_a_wheel_is_told_by_name(wheel):
    with pytest.raises(wheel_files.WheelMissing, match=r"some_pkg==1.0 has no other\.onnx"):
        with_files(replace(wheel, file="other.onnx"))
