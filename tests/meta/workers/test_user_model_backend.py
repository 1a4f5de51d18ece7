"""A model that the suite itself fails on is one refusal, and the others of its file are judged."""

import importlib.util
import sys

import pytest

from onnx_conformance.catalog.frameworks import FRAMEWORKS, Framework, register_framework
from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.registry import registering
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.workers.built_model import BuiltModel, UserModels
from onnx_conformance.workers.import_code import user_modules
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
        return [spec.name for spec in found["specs"]], found["refused"]

    monkeypatch.setattr(backend, "specify", specify)
    return of


def test_the_other_models_of_the_file_are_described(described):
    names, refused = described("right", "broken")
    assert names == ["right"]
    assert list(refused) == ["broken"]
    assert "internal error at " in refused["broken"]
    assert "TypeError: data type not understood" in refused["broken"]


def test_a_module_that_is_imported_at_first_use_is_not_imported_by_looking(tmp_path, monkeypatch):
    (tmp_path / "lazy_part.py").write_text("raise SystemExit('imported')")
    spec = importlib.util.spec_from_file_location("lazy_part", tmp_path / "lazy_part.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lazy_part", module)
    spec.loader.exec_module(module)
    assert user_modules()["lazy_part"] == tmp_path / "lazy_part.py"


def test_alone_it_is_told_in_one_sentence(described):
    with pytest.raises(UsageError, match="model 'broken': internal error.*please report"):
        described("broken")


# -- a framework of one record ---------------------------------------------------------------------


class Doubling:
    """A model of a framework that the library does not know."""


class DoublingModels(UserModels):
    """Takes them; the record of the framework names it."""

    def owns(self, model):
        return isinstance(model, Doubling)

    def built(self, name, model, threads, declared=()):
        return BuiltModel(
            framework="doubling", parameters=("x",), run=lambda inputs: {"y": 2.0 * inputs["x"]}
        )


@pytest.fixture
def doubling():
    record = Framework(
        name="doubling",
        title="Doubling",
        module="numpy",
        packages=(),
        backend="",
        takes="a Doubling",
        user_models=f"{__name__}:{DoublingModels.__name__}",
    )
    _, take_back = registering(lambda: register_framework(record), FRAMEWORKS)
    yield
    take_back()


def specified(builder):
    one = Declaration("net", builder, inputs=(TensorSpec("x", ("batch", 4)),))
    return specify_rightly(one, "file:net", (), "calibrated", 0, threads=None)


def test_a_new_frameworks_models_are_described_by_the_class_that_its_record_names(doubling):
    spec = specified(Doubling)
    assert (spec.framework, [output.name for output in spec.outputs]) == ("doubling", ["y"])


def test_what_no_framework_takes_is_refused_with_what_each_takes(doubling):
    with pytest.raises(UsageError, match="returns a int; return a torch.nn.Module, .*a Doubling"):
        specified(lambda: 3)
