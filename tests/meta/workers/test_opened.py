"""Which data files a model opens: Python's own calls, and ONNX Runtime's sessions."""

import sys
from types import SimpleNamespace

import pytest

from onnx_conformance.core.files import PACKAGE
from onnx_conformance.workers.user_model.opened_files import data_files, opened_files

pytestmark = pytest.mark.slow


def test_files_that_are_read_are_noticed_and_those_that_are_written_are_not(tmp_path):
    data, written = tmp_path / "data.bin", tmp_path / "log.txt"
    data.write_bytes(b"1")
    with opened_files() as found:
        data.read_bytes()
        written.write_text("x")
    assert data_files(found) == [data]
    with opened_files() as found:
        pass
    assert data_files(found) == []


def test_code_and_files_of_python_and_of_the_suite_are_no_data(tmp_path):
    code = tmp_path / "module.py"
    code.touch()
    kept = [code, PACKAGE / "core" / "limits.yaml", tmp_path, tmp_path / "gone"]
    assert data_files({str(path) for path in (*kept, sys.executable)}) == []


def test_the_file_of_a_session_is_noticed_however_short_it_lives(tmp_path, monkeypatch):
    class Session:
        def __init__(self, path):
            self._model_path = path

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    first.touch()
    second.touch()
    kept = Session(str(first))
    before = Session.__init__
    with opened_files() as found:
        Session(second)
    assert data_files(found) == [first, second]
    assert (kept._model_path, Session.__init__) == (str(first), before)
