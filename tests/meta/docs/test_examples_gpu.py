"""What is run on a GPU, where there is none: it says that nothing was proved, and is not green."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.running import ROOT, environment_of_a_run

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "examples" / "gpu" / "check.sh"


def checked(folder, venv):
    return subprocess.run(
        [str(SCRIPT)],
        env={**environment_of_a_run(), "OUT": str(folder), "VENV": str(venv)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="a GPU may be here")
def test_without_a_gpu_nothing_is_proved(tmp_path):
    (tmp_path / "other.md").write_text("kept")
    ran = checked(tmp_path, Path(sys.executable).parents[1])
    assert ran.returncode == 5, ran.stdout + ran.stderr
    summary = (tmp_path / "summary.md").read_text()
    for message in ("NOTHING WAS PROVED", "## probe: exit status 1, red", "onnxruntime"):
        assert message in summary
    assert "NOTHING WAS PROVED" in ran.stdout
    assert "## parity" not in summary
    assert (tmp_path / "other.md").read_text() == "kept"


def test_without_an_environment_nothing_is_run(tmp_path):
    ran = checked(tmp_path / "out", tmp_path / "venv")
    assert (ran.returncode, os.listdir(tmp_path)) == (2, [])
    assert "is not there; make install" in ran.stderr
