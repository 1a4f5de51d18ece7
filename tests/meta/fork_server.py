"""Whole runs of pytest, each forked from a process that has imported the judge's side once.

These imports are a third of what a short run costs. A run finds itself as ``python -m pytest`` is
started: with its own environment, arguments and streams, without any test's state, and with nothing
of the plugin imported.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import psutil

SUPPORTED = sys.platform == "linux"
IMPORTED = (  # no plugin of ours, whose assertions pytest rewrites as it imports them
    "hypothesis",
    "onnx_conformance.checks.evidence",
    "onnx_conformance.diagnose.localisation",
    "onnx_conformance.report.terminal",
    "onnx_conformance.run.live_subject",
)
NOT_REWRITTEN = "PYTEST_DONT_REWRITE"  # what pytest reads in a docstring


class ForkServer:
    """Starts when it is first needed; one run at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """``python -m pytest`` on ``arguments`` in ``folder``.

        Raises:
            TimeoutExpired: it took longer than ``seconds``, and was ended with all that it started.
        """
        process = self._process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        with TemporaryDirectory() as name:
            streams = [f"{name}/stdout", f"{name}/stderr"]
            request = [list(arguments), str(folder), dict(environment), streams]
            print(json.dumps(request), file=process.stdin, flush=True)
            if not select.select([process.stdout], [], [], seconds)[0]:
                self._kill()
                raise subprocess.TimeoutExpired(list(arguments), seconds)
            status = int(process.stdout.readline())
            out, err = (Path(stream).read_text(encoding="utf-8") for stream in streams)
        return subprocess.CompletedProcess(list(arguments), status, out, err)

    def close(self) -> None:
        """End it, and wait: its processor time counts as that of this process's children."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", __name__]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdin=pipe, stdout=pipe, text=True
        )

    def _kill(self) -> None:
        assert self._process
        for process in psutil.Process(self._process.pid).children(recursive=True):
            process.kill()
        self._process.kill()
        self._process.communicate()
        self._process = None


SERVER = ForkServer()


def _serve() -> None:
    """Read requests and answer each with the exit status of its run."""
    for name in IMPORTED:
        importlib.import_module(name)
    for name, module in list(sys.modules.items()):
        if "." not in name:  # hypothesis has a plugin of pytest, which would warn
            module.__doc__ = NOT_REWRITTEN
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(
    arguments: list[str], folder: str, environment: dict[str, str], streams: list[Any]
) -> NoReturn:
    """Be the run: this process ends with it."""
    import pytest

    for number, path in enumerate([os.devnull, *streams]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [f"{Path(pytest.__file__).parent}/__main__.py", *arguments]
    status = pytest.main(arguments)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve()
