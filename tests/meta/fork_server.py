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
from contextlib import suppress
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


Server = subprocess.Popen[str]


class ForkServers:
    """Each forks one run at a time; threads that run at the same time have one each."""

    def __init__(self) -> None:
        self._idle: list[Server] = []

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """``python -m pytest`` on ``arguments`` in ``folder``.

        Raises:
            TimeoutExpired: it took longer than ``seconds``, and was ended with all that it started.
        """
        server = self._one()
        assert server.stdin
        assert server.stdout
        with TemporaryDirectory() as name:
            streams = [f"{name}/stdout", f"{name}/stderr"]
            request = [list(arguments), str(folder), dict(environment), streams]
            print(json.dumps(request), file=server.stdin, flush=True)
            if not select.select([server.stdout], [], [], seconds)[0]:
                _kill(server)
                raise subprocess.TimeoutExpired(list(arguments), seconds)
            status = int(server.stdout.readline())
            out, err = (Path(stream).read_text(encoding="utf-8") for stream in streams)
        self._idle.append(server)
        return subprocess.CompletedProcess(list(arguments), status, out, err)

    def close(self) -> None:
        """End them, and wait: their processor time counts as that of this process's children."""
        while self._idle:
            self._idle.pop().communicate()

    def _one(self) -> Server:
        with suppress(IndexError):
            return self._idle.pop()
        command, pipe = [sys.executable, "-m", __name__], subprocess.PIPE
        root = Path(__file__).parents[2]
        return subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True)


def _kill(server: Server) -> None:
    for process in psutil.Process(server.pid).children(recursive=True):
        process.kill()
    server.kill()
    server.communicate()


SERVERS = ForkServers()


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
