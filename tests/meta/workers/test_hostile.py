"""Hostile and broken files: each is a red case with one sentence, and none does any harm."""

import os
import shutil
import subprocess
import unicodedata
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_conformance.core.errors import StageFailure, UsageError
from onnx_conformance.core.settings import Settings, load_limits, shipped_limits
from onnx_conformance.core.text import one_line
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.external_artifacts import read_external_artifact
from onnx_conformance.run.selection import Selection, external_cases
from onnx_conformance.run.worker_queue import WorkerQueues
from tests.meta.hostile import CORPUS, write_corpus
from tests.meta.hostile.bombs import expanded
from tests.meta.hostile.data import keep
from tests.meta.hostile.graphs import SCRIPT, nested_branches, save, unknown_domain
from tests.meta.running import ROOT, run_suite

pytestmark = pytest.mark.slow

EXPORT = ("tests/test_structure.py", "--model=simple_net", "--exporter=torch_torchscript")
JUDGE = ("tests", "--ignore=tests/meta", "--model=simple_net", "--provider=cpu", "--bundles=0")
LONGEST = 700  # characters of a sentence with a path in it


@pytest.fixture(scope="module")
def right(tmp_path_factory, cache):
    saved = tmp_path_factory.mktemp("saved")
    run_suite(saved, *EXPORT, "--opset=14", "--provider=cpu", cache, f"--save-onnx={saved}")
    return onnx.load(saved / "simple_net-torch_torchscript-opset14.onnx")


def listing(folder):
    skipped = ("__pycache__", ".conformance", ".git", ".venv", ".pytest_cache", ".hypothesis")
    return {path for path in folder.iterdir() if path.name not in skipped}


@pytest.fixture(scope="module")
def judged(tmp_path_factory, cache, right):
    """The whole corpus and one right file in one run."""
    folder = tmp_path_factory.mktemp("hostile")
    write_corpus(right, folder)
    onnx.save(right, folder / "right.onnx")
    before = {*folder.rglob("*"), *listing(ROOT)}
    reports = tmp_path_factory.mktemp("judged")
    options = (f"--artifact={folder}", "--first-finding", "--call-limit=20", cache)
    run = run_suite(reports, *JUDGE, *options, page=True)
    return SimpleNamespace(
        status=run.status,
        text=run.text,
        document=run.document,
        written={*folder.rglob("*"), *listing(ROOT)} - before,
        page=(reports / "report.html").read_text(),
    )


def case_of(run, label):
    (found,) = [case for case in run.document["cases"] if case["id"] == f"simple_net-{label}-cpu"]
    return found


def test_the_corpus_is_large_enough():
    assert len(CORPUS) >= 25


def test_a_right_file_among_them_is_proved(judged):
    assert judged.status == 1
    assert case_of(judged, "right")["verdict"] == "passed"
    assert len(judged.document["cases"]) == len(CORPUS) + 1


@pytest.mark.parametrize("entry", CORPUS.values(), ids=CORPUS)
def test_one_sentence_says_the_cause(judged, entry):
    rows = case_of(judged, entry.label)["checks"]
    (red,) = [row for row in rows if row["outcome"] in ("failed", "error")]
    assert entry.message in red["reason"]
    assert len(red["reason"]) < LONGEST
    assert not any(unicodedata.category(c) == "Cc" for c in red["reason"])
    assert "Traceback" not in red["message"]
    assert "last output" not in red["message"]


def test_nothing_was_written(judged):
    assert not judged.written


def test_the_terminal_and_the_page_stay_what_they_are(judged):
    assert not {c for c in judged.text if unicodedata.category(c) in ("Cc", "Cf")} - {"\n"}
    assert SCRIPT not in judged.page
    assert "Traceback" not in judged.text


# -- limits and libraries ------------------------------------------------------------------------


def read(path, *limits, **settings):
    """Read a file as a session with these options does."""
    settings = Settings(limits=shipped_limits().changed(limits), **settings)
    (case,) = external_cases(Selection(("simple_net",), providers=("cpu",), artifacts=(str(path),)))
    with closing(WorkerQueues(settings, Clock())) as queues:
        return read_external_artifact(case, queues)


@pytest.fixture
def written(tmp_path, right):
    """Write an entry of the corpus."""

    def write(writer):
        model = onnx.ModelProto()
        model.CopyFrom(right)
        writer(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return write


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("file_mb=0.0005", "MB, but only 0.0005 are allowed"),
        ("nodes=2", "has 3 nodes, but only 2 are allowed"),
        ("data_mb=0.0001", "in external data, but only 0.0001 are allowed"),
        ("seconds=0.01", "did not answer within 0.01 s"),
    ],
)
def test_a_limit_that_is_lowered_refuses_a_right_file(written, limit, message):
    def elsewhere(model, path):
        (path.parent / "weights").write_bytes(keep(model, "weights"))
        save(model, path)

    with pytest.raises(StageFailure, match=message):
        read(written(elsewhere), limit)


def test_a_file_that_fills_the_reader_is_reported(written):
    def heavy(model, path):
        weight = numpy_helper.from_array(np.zeros(10**7, np.float32), "unused")
        model.graph.initializer.append(weight)
        save(model, path)

    with pytest.raises(StageFailure, match="needs more memory to read than is allowed"):
        read(written(heavy), "memory_mb=1", "memory_per_mb=0.1")


@pytest.mark.parametrize(
    ("writer", "limit"), [(nested_branches, "depth=32"), (expanded, "elements=1e12")]
)
def test_a_limit_that_is_raised_lets_it_pass(written, writer, limit):
    assert read(written(writer), limit).facts["outputs"]


@pytest.mark.parametrize("asked", ["nodes", "nodes=many", "nodes=0", "nodes=-1", "depths=3"])
def test_a_limit_that_is_none_is_refused(asked):
    with pytest.raises(UsageError, match=f"--artifact-limit {asked}"):
        shipped_limits().changed((asked,))


def test_a_limit_without_a_reason_is_refused(tmp_path):
    path = tmp_path / "limits.yaml"
    path.write_text("file_mb: {most: 1, reason: because}")
    with pytest.raises(UsageError, match="missing|reason"):
        load_limits(path)


def test_links_of_the_suite_itself_are_no_finding(written, tmp_path, monkeypatch):
    """The canary links data for as long as it looks at another process' copy."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "conformance-canary-x").mkdir()

    def linked(model, path):
        (path.parent / "weights").write_bytes(keep(model, "weights"))
        os.link(path.parent / "weights", tmp_path / "conformance-canary-x" / "weights")
        save(model, path)

    path = written(linked)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert len(read(path).files) == 2


def test_a_library_must_be_there(tmp_path):
    run = run_suite(tmp_path, *JUDGE, "--custom-op-library=nowhere.so")
    assert run.status == 4
    assert "--custom-op-library nowhere.so: no such file" in run.text


def test_a_named_library_answers_for_unknown_domains(written):
    assert read(written(unknown_domain), custom_op_libraries=("ops.so",)).facts["opset"]


def test_a_file_that_is_no_library_is_reported(tmp_path, cache, right):
    path = tmp_path / "model.onnx"
    onnx.save(right, path)
    options = ("--first-finding", f"--artifact={path}", f"--custom-op-library={path}", cache)
    run = run_suite(tmp_path, *JUDGE, *options)
    assert run.status == 1
    assert "cannot be loaded" in run.text
    assert "build it for ONNX Runtime" in run.text


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_library_that_is_named_is_loaded(tmp_path, cache, right):
    """It is asked for its operators, and leaves a mark when it is."""
    source, library = tmp_path / "ops.c", tmp_path / "ops.so"
    mark, path = tmp_path / "mark", tmp_path / "model.onnx"
    source.write_text(
        "#include <stdio.h>\nvoid *RegisterCustomOps(void *options, const void *api) "
        f'{{ fclose(fopen("{mark}", "w")); return 0; }}'
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", library, source], check=True)
    onnx.save(right, path)
    options = (f"--artifact={path}", f"--custom-op-library={library}", cache)
    run = run_suite(tmp_path, "tests/test_structure.py", *JUDGE[2:], *options)
    assert run.status == 5, run.text  # the other checks were not asked for
    assert mark.exists()


def test_the_options_reach_the_reader(tmp_path, cache, written):
    options = ("--first-finding", f"--artifact={written(unknown_domain)}", cache)
    library = f"--custom-op-library={ROOT / 'README.md'}"  # read, and not yet loaded
    run = run_suite(tmp_path, *JUDGE, *options, library, "--artifact-limit=nodes=1")
    assert "has 3 nodes, but only 1 are allowed" in run.text


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/framework/"
            "bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, "
            "onnxruntime::Stream*) Failed to allocate memory.\n",
            "Failed to allocate memory",
        ),
        ("\x1b[1;31mred\x1b[0m\tand\x07 loud", "red and\\x07 loud"),
    ],
)
def test_a_framework_s_words_become_one_line(said, text):
    assert one_line(said) == text
