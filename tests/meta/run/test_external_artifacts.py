"""Given artifacts: files made by anybody are cases like any other, and bad ones are red ones."""

import json
import os
from collections import Counter
from contextlib import closing
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core.errors import StageFailure, UsageError
from onnx_conformance.core.settings import Settings
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.external_artifacts import (
    asked_opset,
    chosen_by_exporter,
    labelled,
    read_external_artifact,
)
from onnx_conformance.run.selection import Selection, external_cases
from onnx_conformance.run.worker_queue import WorkerQueues
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

TORCH = "pytorch 2.15.0"
EXPORT = ("tests/test_structure.py", "--model=simple_net", "--exporter=torch_torchscript")


def renamed_output(path):
    """A file like another, but with an output that has a name of its own."""
    model = onnx.load(path)
    model.graph.node[-1].output[0] = model.graph.output[0].name = "scores"
    return model


def one_weight_off(path):
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor).copy()
    array.flat[7] *= -1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache):
    """A right file, a renamed one, a wrong one, and four that are no models."""
    folder = tmp_path_factory.mktemp("given")
    saved = tmp_path_factory.mktemp("saved")
    run_suite(saved, *EXPORT, "--opset=14", "--provider=cpu", cache, f"--save-onnx={saved}")
    right = saved / "simple_net-torch_torchscript-opset14.onnx"
    (folder / "right.onnx").write_bytes(right.read_bytes())
    onnx.save(renamed_output(right), folder / "renamed.onnx")
    onnx.save(one_weight_off(right), folder / "wrong.onnx")
    (folder / "broken").mkdir()
    (folder / "broken" / "cut.onnx").write_bytes(right.read_bytes()[:900])
    (folder / "broken" / "empty.onnx").write_bytes(b"")
    (folder / "broken" / "text.onnx").write_text("no model")
    (folder / "broken" / "zeros.onnx").write_bytes(bytes(2000))
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory, cache, folder):
    tests = ("tests", "--ignore=tests/meta", "--model=simple_net", "--provider=cpu")
    reports = tmp_path_factory.mktemp("judged")
    return run_suite(reports, *tests, f"--artifact={folder}", "--first-finding", cache)


def verdicts(run):
    return {case["id"]: case["verdict"] for case in run.document["cases"]}


def test_every_file_is_a_case_that_names_it(judged, folder):
    files = {case["artifact"] for case in judged.document["cases"]}
    assert files == {str(path) for path in folder.rglob("*.onnx")}


def test_a_right_file_is_proved_and_the_others_are_red(judged):
    assert judged.status == 1
    assert [case for case, verdict in verdicts(judged).items() if verdict == "passed"] == [
        "simple_net-right-cpu"
    ]
    assert Counter(verdicts(judged).values())["failed"] == 6


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("renamed", "output is named 'scores', expected 'output'"),
        ("wrong", "of 4 native weights are not intact"),
        ("broken/cut", "is not an ONNX model"),
        ("broken/empty", "is not an ONNX model with outputs"),
        ("broken/text", "is not an ONNX model"),
        ("broken/zeros", "is not an ONNX model"),
    ],
)
def test_a_finding_is_one_clear_line(judged, case, message):
    (found,) = [c for c in judged.document["cases"] if c["id"] == f"simple_net-{case}-cpu"]
    red = [row for row in found["checks"] if row["outcome"] in ("failed", "error")]
    assert len(red) == 1
    assert message in red[0]["reason"]
    assert "\n" not in red[0]["reason"]


def test_a_red_case_skips_its_remaining_checks(judged):
    assert "not run: interface failed already (--first-finding)" in str(judged.document)


def test_the_command_in_a_failure_repeats_it(judged, tmp_path, cache):
    lines = [line for line in judged.text.splitlines() if "reproduce:" in line and "wrong" in line]
    test = lines[0].split("'")[1]
    options = lines[0].split("' ")[1].split()
    again = run_suite(tmp_path, test, *options, cache)
    assert again.status == 1
    assert [case["verdict"] for case in again.document["cases"]] == ["failed"]


def test_the_command_in_a_failure_repeats_the_precision(judged, tmp_path, cache):
    right = next(c for c in judged.document["cases"] if c["verdict"] == "passed")
    options = ("--model=simple_net", f"--artifact={right['artifact']}", "--precision=float16")
    ran = run_suite(tmp_path, "tests/test_robustness.py", *options, "--provider=cpu", cache)
    assert "judge it as float32 (without --precision float16)" in ran.text
    assert "--precision=float16 --provider cpu" in ran.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--artifact=nowhere.onnx", "--model=simple_net"), "no such file or folder"),
        (("--artifact=docs", "--model=simple_net"), "the folder has no .onnx file"),
        (("--artifact=docs",), "--artifact needs the one model"),
    ],
)
def test_a_wrong_argument_is_reported_in_one_line(tmp_path, arguments, message):
    run = run_suite(tmp_path, "tests/test_structure.py", *arguments)
    assert run.status == 4
    assert message in run.text


def test_no_file_is_left_out_in_silence(tmp_path):
    """Neither one whose suffix is in upper case nor one in a folder that is a link."""
    (tmp_path / "given").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "given" / "A.ONNX").touch()
    (tmp_path / "other" / "b.onnx").touch()
    (tmp_path / "given" / "linked").symlink_to(tmp_path / "other", target_is_directory=True)
    assert set(labelled((str(tmp_path / "given"),))) == {"A", "linked/b"}


def test_links_in_a_circle_are_walked_once(tmp_path):
    """Each further link would double the walk."""
    (tmp_path / "a.onnx").touch()
    for number in range(12):
        (tmp_path / f"link{number}").symlink_to(".", target_is_directory=True)
    assert set(labelled((str(tmp_path),))) == {"a"}


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    (case,) = external_cases(
        Selection(("simple_net",), providers=("cpu",), artifacts=(str(tmp_path),))
    )
    with pytest.raises(StageFailure, match="is not a file"):
        read(case)


def read(case):
    """Read a case's file as a session with the shipped limits does."""
    with closing(WorkerQueues(Settings(), Clock())) as queues:
        return read_external_artifact(case, queues)


def test_equal_names_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").touch()
    with pytest.raises(UsageError, match="have the same name"):
        labelled((str(tmp_path / "a"), str(tmp_path / "b" / "model.onnx")))


def test_the_asked_opset_is_the_option_the_manifest_or_the_name(tmp_path):
    manifest = {"case": {"file": "x-opset9.onnx", "opset_requested": 13}}
    path = tmp_path / "x-opset9.onnx"
    path.touch()
    assert asked_opset(path, "x-opset9") == 9
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert asked_opset(path, "x-opset9") == 13
    (case,) = external_cases(
        Selection(("simple_net",), opsets=(17,), providers=("cpu",), artifacts=(str(path),))
    )
    assert case.opset == 17


@pytest.mark.parametrize(
    ("name", "producer", "node", "chosen"),
    [
        ("input.1", TORCH, "", True),
        ("495", TORCH, "", True),
        ("linear", TORCH, "node_linear", True),
        ("scores", TORCH, "node_linear", False),
        ("forwarded", TORCH, "", True),
        ("Identity:0", "tf2onnx 1.17.0", "", True),
        ("scores", "tf2onnx 1.17.0", "", False),
        ("scores", "somebody else", "", True),
    ],
)
def test_names_that_exporters_make_up(name, producer, node, chosen):
    tensor = {"name": name, "node": node}
    assert chosen_by_exporter(tensor, producer, ("forwarded",)) is chosen


def with_weights_in(location):
    """A model whose only weight lies in a file of that name."""
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "weight")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    sides = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in "xy"]
    node = helper.make_node("MatMul", ["x", "weight"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", sides[:1], sides[1:], [weight]))


@pytest.mark.parametrize(
    ("location", "message"),
    [("../secret", "outside its own folder"), ("absent", "which is not beside it")],
)
def test_weights_come_from_beside_the_file_only(tmp_path, location, message):
    (tmp_path / "secret").write_bytes(bytes(16))
    home = tmp_path / "home"
    home.mkdir()
    path = home / "model.onnx"
    path.write_bytes(with_weights_in(location).SerializeToString())
    (case,) = external_cases(Selection(("simple_net",), providers=("cpu",), artifacts=(str(path),)))
    with pytest.raises(StageFailure, match=message):
        read(case)


# -- folders of files that belong together ---------------------------------------------------------


ROLES = ("decoder_model", "encoder_model")


@pytest.fixture
def folders(tmp_path):
    """Two folders of an encoder and a decoder, before and after; the former ones are models."""
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        for role in ROLES:
            (tmp_path / name / f"{role}.onnx").write_bytes(b"")
    for role in ROLES:
        MODELS.register(f"{role}.onnx", replace(MODELS["simple_net"], name=f"{role}.onnx"))
    yield tmp_path
    for role in ROLES:
        MODELS.forget(f"{role}.onnx")


def namesakes(folder, *artifacts, models=ROLES):
    found = [str(folder / one) for one in artifacts]
    references = tuple(f"{role}.onnx" for role in models)
    before = str(folder / "before")
    return external_cases(
        Selection(references, providers=("cpu",), artifacts=tuple(found), against=before)
    )


def test_each_file_of_a_folder_is_judged_by_its_namesake(folders):
    cases = namesakes(folders, "after")
    assert {case.label: case.model for case in cases} == {role: f"{role}.onnx" for role in ROLES}
    (alone,) = namesakes(folders, "after/encoder_model.onnx")
    assert alone.model == "encoder_model.onnx"


def test_a_file_whose_reference_was_refused_is_no_case(folders):
    (alone,) = namesakes(folders, "after", models=["encoder_model"])
    assert alone.model == "encoder_model.onnx"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("extra", r"extra.onnx has no namesake in --against .*, which holds decoder_model.onnx, "),
        ("missing", r"lacks encoder_model.onnx, which --against .* holds; export it too"),
    ],
)
def test_a_file_without_a_namesake_is_told(folders, changed, words):
    if changed == "extra":
        (folders / "after" / "extra.onnx").write_bytes(b"")
    else:
        (folders / "after" / "encoder_model.onnx").unlink()
    with pytest.raises(UsageError, match=words):
        namesakes(folders, "after")
