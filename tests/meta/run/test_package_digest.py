"""Results are kept by the code that made them: every file of the package, at any depth."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from onnx_conformance.catalog.exporters import EXPORTERS
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.catalog.variants import VARIANTS
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import Preprocessing
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.run import cache_keys
from onnx_conformance.run.cache_keys import folder_digest, package_folder, source_digest

CASE = Case("simple_net", "torch_torchscript", 14, "cpu")
OUTSIDE = "outside_of_the_package"
PREPROCESSING = Preprocessing(256, 224, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "package"
    (made / "deep" / "deeper").mkdir(parents=True)
    (made / "__init__.py").write_text("")
    (made / "deep" / "deeper" / "module.py").write_text("one = 1\n")
    (made / "deep" / "data.yaml").write_text("one: 1\n")
    (made / "page.j2").write_text("{{ one }}\n")
    return made


@pytest.fixture(autouse=True)
def fresh():
    """The digest is computed once in a process: here as often as it is asked for."""
    source_digest.cache_clear()
    folder_digest.cache_clear()
    yield
    source_digest.cache_clear()
    folder_digest.cache_clear()


def digest(folder):
    folder_digest.cache_clear()
    return folder_digest(folder)


@pytest.mark.parametrize("name", ["deep/deeper/module.py", "deep/data.yaml", "page.j2"])
@pytest.mark.parametrize("change", ["edited", "removed", "renamed", "added"])
def test_any_change_to_any_file_changes_the_digest(folder, name, change):
    before, path = digest(folder), folder / name
    if change == "edited":
        path.write_text(path.read_text() + "\n")
    elif change == "removed":
        path.unlink()
    elif change == "renamed":
        path.rename(path.with_name(f"other{path.suffix}"))
    else:
        path.with_name(f"other{path.suffix}").write_text("")
    assert digest(folder) != before


def test_what_moves_between_neighbouring_files_changes_the_digest(folder):
    (folder / "a.py").write_text("xy")
    (folder / "b.py").write_text("z")
    before = digest(folder)
    (folder / "a.py").write_text("x")
    (folder / "b.py").write_text("yz")
    assert digest(folder) != before


def test_the_digest_is_of_the_code_and_not_of_where_it_lies(folder, tmp_path):
    before = digest(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "module.cpython-311.pyc").write_bytes(b"compiled")
    assert digest(folder) == before
    shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    assert digest(tmp_path / "elsewhere" / "copy") == before


def test_a_package_without_source_is_refused(tmp_path):
    with pytest.raises(UsageError, match="has no source file"):
        digest(tmp_path)


def test_the_package_is_the_one_that_runs():
    assert package_folder() == Path(cache_keys.__file__).resolve().parents[1]


def key_functions():
    """Every content key of the suite."""
    model, settings = resolve_model("simple_net"), Settings()
    return {
        "model": lambda: cache_keys.model_key(model, settings),
        "own model": lambda: cache_keys.model_key(replace(model, fingerprint="of it"), settings),
        "artifact": lambda: cache_keys.artifact_key(
            CASE, EXPORTERS[CASE.exporter], "same model", "same weights"
        ),
        "variant": lambda: cache_keys.variant_key(VARIANTS["onnxslim"], ("same file",)),
        "outputs": lambda: cache_keys.outputs_key(
            cache_keys.model_key(model, settings),
            "same weights",
            Recipe("zeros").inputs(model.inputs).digest,
            ("float64",),
            1,
            {},
        ),
        "photograph": lambda: cache_keys.photograph_key("same photograph", PREPROCESSING),
    }


@pytest.mark.parametrize("name", key_functions())
def test_every_key_changes_with_the_package(monkeypatch, folder, name):
    key = key_functions()[name]
    monkeypatch.setattr(cache_keys, "package_folder", lambda: folder)
    before = key()
    (folder / "deep" / "deeper" / "module.py").write_text("one = 2\n")
    source_digest.cache_clear()
    folder_digest.cache_clear()
    assert key() != before


def test_a_module_outside_counts_with_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"{OUTSIDE}.py").write_text("import neighbour\n")
    (tmp_path / "neighbour.py").write_text("one = 1\n")
    before = source_digest(OUTSIDE)
    assert before != source_digest()
    (tmp_path / "neighbour.py").write_text("one = 2\n")
    source_digest.cache_clear()
    assert source_digest(OUTSIDE) != before
    assert OUTSIDE not in sys.modules


@pytest.mark.parametrize("module", ["no_such_module_anywhere", "no_such.module", "sys"])
def test_a_module_without_source_is_refused(module):
    with pytest.raises(UsageError, match="has no source file"):
        source_digest(module)


def test_a_module_of_the_package_adds_nothing():
    assert source_digest("onnx_conformance.checks.function") == source_digest()
