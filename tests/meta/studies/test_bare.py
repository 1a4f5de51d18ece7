"""The bare script that the suite's time is held against still does the suite's work."""

import subprocess
import sys

import pytest

from tests.meta.running import ROOT

pytestmark = pytest.mark.slow


def test_the_bare_script_runs():
    ran = subprocess.run(
        [sys.executable, "-m", "studies.bare_script", "simple_net", "torch_torchscript"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
