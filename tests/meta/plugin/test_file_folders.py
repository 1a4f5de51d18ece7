"""Whole runs of folders: each file beside its namesake, and all of them in a row."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from onnx_conformance.plugin import registration
from tests.meta.running import run_suite
from tests.meta.workers.test_composition import folder_of

pytestmark = pytest.mark.slow
OPTIONS = ("tests/test_function.py", "--provider=cpu", "-k", "pinned", "--no-localize")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("folders")
    for name, changed in {"before": {}, "after": {"decoder_model": {"swapped": True}}}.items():
        (place / name).mkdir()
        folder_of(place / name, **changed)
    return place


def verdicts(ran):
    found = {}
    for case in ran.document["cases"]:
        found[case["exporter"]] = {row["outcome"] for row in case["checks"]}
    return found


def test_a_file_with_swapped_caches_is_wrong_alone_and_in_the_chain(folders, tmp_path):
    sides = [f"--against={folders / 'before'}", f"--artifact={folders / 'after'}"]
    ran = run_suite(tmp_path, *OPTIONS, "--bundles=0", *sides)
    assert ran.status == 1, ran.text
    wrong = {label for label, outcomes in verdicts(ran).items() if "failed" in outcomes}
    assert wrong == {"decoder_model", "files_together"}
    assert len(verdicts(ran)) == 4


def test_without_roles_a_line_says_what_is_not_judged(folders, tmp_path):
    for side in ("before", "after"):
        (tmp_path / side).mkdir()
        for number, path in enumerate(sorted((folders / "before").iterdir())[1:]):
            (tmp_path / side / f"part_{number}.onnx").write_bytes(path.read_bytes())
    sides = [f"--against={tmp_path / 'before'}", f"--artifact={tmp_path / 'after'}"]
    ran = run_suite(tmp_path, *OPTIONS, *sides)
    assert "the 2 files are judged one by one, and what one hands to another is not" in ran.text
    assert len(verdicts(ran)) == 2


def test_several_files_beside_a_checkpoint_take_what_the_first_takes(tmp_path, monkeypatch):
    looked_at = []
    monkeypatch.setattr(registration, "folder_of", lambda places, *rest: looked_at.append(places))
    files = [str(tmp_path / f"{number}.onnx") for number in range(2)]
    for path in files:
        Path(path).touch()
    options = {"artifact": files, "artifact_limit": [], "no_cache": True, "model": ["hf:mine"]}
    registration._folders(
        SimpleNamespace(option=SimpleNamespace(help=False), getoption=options.get)
    )
    assert looked_at == [(files[0],)]
