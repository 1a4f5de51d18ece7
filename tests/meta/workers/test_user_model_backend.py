"""A model that the suite itself fails on is one refusal, and the others of its file are judged."""

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.workers.user_model import backend
from onnx_conformance.workers.user_model.describe import specify as specify_rightly

BODY = """
from onnx_conformance import TensorSpec, register_model

for name in NAMES:
    register_model(name, inputs=[TensorSpec("x", ("batch", 4))])(lambda: lambda x: 2.0 * x)
"""


@pytest.fixture
def described(tmp_path, monkeypatch):
    def specify(one, *args, **kwargs):
        if one.name == "broken":
            raise TypeError("data type not understood")
        return specify_rightly(one, *args, **kwargs)

    def of(*names):
        path = tmp_path / f"models_{'_'.join(names)}.py"
        path.write_text(f"NAMES = {list(names)}\n{BODY}")
        worker = backend.UserModelBackend(threads=1)
        found = worker.describe([str(path)], [], [], "calibrated", 0)
        return [spec["name"] for spec in found["specs"]], found["refused"]

    monkeypatch.setattr(backend, "specify", specify)
    return of


def test_the_other_models_of_the_file_are_described(described):
    names, refused = described("right", "broken")
    assert names == ["right"]
    assert list(refused) == ["broken"]
    assert "internal error: TypeError: data type not understood" in refused["broken"]


def test_alone_it_is_told_in_one_sentence(described):
    with pytest.raises(UsageError, match="model 'broken': internal error.*please report"):
        described("broken")
