"""A baseline is what --save-onnx kept, every byte of it; all else is refused in one line."""

import hashlib
import json
from dataclasses import replace

import onnx
import pytest
from onnx import TensorProto, helper

from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import StageFailure, UsageError
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.settings import Settings, shipped_limits
from onnx_conformance.core.store import Store
from onnx_conformance.perf.gate.gate_run import baseline_artifact
from onnx_conformance.perf.gate.rules import GateFailure
from onnx_conformance.report.saved_artifacts import (
    UncertifiedBaseline,
    read_baseline,
    save_artifacts,
)
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.external_artifacts import asked_opset
from onnx_conformance.run.run_workers import RunWorkers

pytestmark = pytest.mark.slow

ID = "simple_net-torch_dynamo-opset18-cpu"
FILES = ("model.onnx", "model.onnx.data")


def made_case(folder, files=FILES, **changes):
    folder.mkdir(exist_ok=True)
    for name in files:
        (folder / name).write_bytes(name.encode())
    return {
        "id": ID,
        "provider": "cpu",
        "artifact": str(folder / files[0]),
        "artifact_files": list(files),
        "artifact_sha256": hashlib.sha256(files[0].encode()).hexdigest(),
        "opset_requested": 18,
        "opset": 18,
        "verdict": "passed",
        "complete": True,
        "option": False,
    } | changes


def save(folder, *cases):
    document = {"cases": cases, "environment": {"versions": {"torch": "2.15"}}}
    save_artifacts(document, folder)


@pytest.fixture
def kept(tmp_path):
    save(tmp_path / "kept", made_case(tmp_path / "made"))
    return tmp_path / "kept"


def edit(kept, change):
    path = kept / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest, manifest["cases"][ID])
    path.write_text(json.dumps(manifest))


def test_what_was_kept_is_read(kept):
    case = read_baseline(kept).certified_case(ID)
    home = kept / "simple_net-torch_dynamo-opset18"
    assert case.files == tuple(home / name for name in FILES)
    assert case.sha256 == tuple(hashlib.sha256(name.encode()).hexdigest() for name in FILES)
    assert (case.opset_requested, case.verdict) == (18, "passed")
    assert case.versions == {"torch": "2.15"}


def test_a_single_file_is_read_and_keeps_its_opset(tmp_path):
    save(tmp_path / "kept", made_case(tmp_path / "made", FILES[:1], opset_requested=17))
    (path,) = read_baseline(tmp_path / "kept").certified_case(ID).files
    assert path.name == "simple_net-torch_dynamo-opset18.onnx"
    assert asked_opset(path, path.stem) == 17


def test_a_relative_folder_gives_absolute_files(kept, monkeypatch):
    monkeypatch.chdir(kept.parent)
    (path, _) = read_baseline(kept.relative_to(kept.parent)).certified_case(ID).files
    assert path.is_absolute()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "failed"}, "judged as failed"),
        ({"verdict": "skipped"}, "judged as skipped"),
        ({"verdict": "known_failure"}, "judged as known_failure"),
        ({"complete": False}, "incomplete"),
    ],
)
def test_an_unproved_case_is_refused_when_asked_for(tmp_path, changes, message):
    other = made_case(tmp_path / "other", id="other-cpu")
    save(tmp_path / "kept", made_case(tmp_path / "made", **changes), other)
    baseline = read_baseline(tmp_path / "kept")
    assert baseline.certified_case("other-cpu").verdict == "passed"
    with pytest.raises(UncertifiedBaseline, match=message):
        baseline.certified_case(ID)


@pytest.mark.parametrize("option", [False, True])
def test_whether_an_export_option_brought_it_is_kept(tmp_path, option):
    save(tmp_path / "kept", made_case(tmp_path / "made", option=option))
    assert read_baseline(tmp_path / "kept").certified_case(ID).option is option


def test_a_case_that_is_not_there_is_reported(kept):
    with pytest.raises(UsageError, match="has no case 'renamed-cpu'"):
        read_baseline(kept).certified_case("renamed-cpu")


def test_a_file_changed_since_it_was_judged_is_not_kept(tmp_path):
    case = made_case(tmp_path / "made", artifact_sha256="0" * 64)
    with pytest.raises(UsageError, match="changed since it was judged"):
        save(tmp_path / "kept", case)


def refusal(folder):
    with pytest.raises(UsageError) as caught:
        read_baseline(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_folder_of_artifacts(tmp_path):
    assert "there is no" in refusal(tmp_path / "absent")
    assert "has no manifest.json" in refusal(tmp_path)
    file = tmp_path / "0001_run.json"
    file.write_text('{"benchmarks": [], "machine_info": {}}')
    assert "times of another run" in refusal(file)
    file.write_bytes(b"\xff")
    assert "is a file" in refusal(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"[]", "has no schema"),
        (b"null", "has no schema"),
        (b'{"a-cpu": {"file": "a.onnx", "sha256": "0"}}', "has no schema"),
        (b'{"schema": true, "cases": {}}', "has no schema"),
        (b'{"schema": 2, "cases": {}}', "has schema 2, this suite reads 1"),
        (b'{"schema": 1}', "no mapping 'cases'"),
        (b'{"schema": 1, "cases": []}', "no mapping 'cases'"),
        (b'{"schema": 1, "cases": {}}', "lists no case"),
        (b'{"schema": 1, "cases": {"a": 1}}', "case 'a': the entry is not a mapping"),
    ],
)
def test_a_manifest_that_is_none(tmp_path, text, message):
    (tmp_path / "manifest.json").write_bytes(text)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("file", 3, "'file' must not be 3"),
        ("files", "model.onnx", "'files' must not be"),
        ("files", [], "one digest for each"),
        ("files", [1, 2], "one digest for each"),
        ("sha256", ["0" * 64], "one digest for each"),
        ("sha256", ["0" * 64] * 2, "changed since it was kept"),
        ("file", "other.onnx", "must begin with 'file'"),
        ("opset", False, "'opset' must not be False"),
        ("proved", "yes", "'proved' must not be 'yes'"),
        ("proved", 1, "'proved' must not be 1"),
        ("option", None, "'option' must not be None"),
        ("option", 0, "'option' must not be 0"),
        ("versions", None, "'versions' must not be None"),
    ],
)
def test_an_entry_that_makes_no_sense(kept, key, value, message):
    edit(kept, lambda _, case: case.update({key: value}))
    assert message in refusal(kept)


@pytest.mark.parametrize(
    "key",
    ["file", "files", "sha256", "opset_requested", "verdict", "proved", "option", "versions"],
)
def test_an_entry_without_a_key(kept, key):
    edit(kept, lambda _, case: case.pop(key))
    assert f"'{key}' is missing" in refusal(kept)


@pytest.mark.parametrize("path", ["../made/model.onnx", "/etc/hostname", "link.onnx"])
def test_a_path_that_leads_outside(kept, path):
    (kept / "link.onnx").symlink_to(kept.parent / "made" / "model.onnx")

    def lead_out(_, case):
        case["file"] = case["files"][0] = path

    edit(kept, lead_out)
    assert "lies outside of the folder" in refusal(kept)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_changed(kept, name):
    path = kept / "simple_net-torch_dynamo-opset18" / name
    path.write_bytes(b"other")
    assert "changed since it was kept" in refusal(kept)
    path.unlink()
    assert "is missing" in refusal(kept)
    path.mkdir()
    assert "cannot be read" in refusal(kept)


# -- the limits of the session --------------------------------------------------------------------


@pytest.fixture
def graph(tmp_path):
    """A baseline whose file is a graph of three nodes."""
    names = ["x", "a", "b", "y"]
    sides = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in "xy"]
    nodes = [helper.make_node("Relu", [names[i]], [names[i + 1]]) for i in range(3)]
    opset = [helper.make_opsetid("", 18)]
    made = helper.make_model(
        helper.make_graph(nodes, "g", sides[:1], sides[1:]), opset_imports=opset, ir_version=10
    )
    (tmp_path / "made").mkdir()
    path = tmp_path / "made" / FILES[0]
    onnx.save(made, path)
    digest = file_digest(path)
    case = made_case(tmp_path / "other", FILES[:1])
    case |= {"artifact": str(path), "artifact_sha256": digest}
    save(tmp_path / "kept", case)
    return read_baseline(tmp_path / "kept").certified_case(ID)


@pytest.fixture
def read_in_a_session(tmp_path, graph):
    """Read the baseline's file in a session with these limits."""

    def read(*limits, kept=graph, **settings):
        settings = Settings(limits=shipped_limits().changed(limits), **settings)
        workers = RunWorkers(settings, Store(tmp_path / "cache"), Clock())
        try:
            return baseline_artifact(Case("simple_net", "torch_dynamo", 18, "cpu"), kept, workers)
        finally:
            workers.close()

    return read


def test_a_baselines_file_is_read(read_in_a_session, graph):
    assert read_in_a_session().files == graph.files


@pytest.mark.parametrize(
    ("limits", "settings", "message"),
    [
        (("nodes=2",), {}, "has 3 nodes, but only 2 are allowed"),
        ((), {"limit": 0.01}, "did not answer within 0.01 s"),
    ],
    ids=["artifact limit", "call limit"],
)
def test_a_baselines_file_is_read_under_the_limits_of_the_session(
    read_in_a_session, limits, settings, message
):
    with pytest.raises(StageFailure, match=message):
        read_in_a_session(*limits, **settings)


def test_a_baselines_file_that_changed_since_is_worse(read_in_a_session, graph):
    with pytest.raises(GateFailure, match="changed since it was kept"):
        read_in_a_session(kept=replace(graph, sha256=("0" * 64,)))
