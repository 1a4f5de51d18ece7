"""``onnx-conformance run``, ``bench`` and ``gate``: pytest on the conformance tests.

Arguments that are no options are recognised as Python files with models, ONNX files and folders of
them, test ids, or names of models. Every option is passed to pytest.

Exit status: pytest's, and 5 where nothing reached a verdict (README, "Exit status").
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import INSTALLED, PACKAGE, SUITE, TYPED, WHOLE_RUN, program
from onnx_conformance.plugin.typed_command import valued_options, whole_run

SETTINGS = PACKAGE / "plugin" / "suite.ini"
TESTS = SUITE if INSTALLED else PACKAGE.with_name("tests")
# The tests of each command, where none is named, and the options that belong to it.
TEST_FILES = {"run": (), "bench": ("test_latency.py",), "gate": ("test_gate.py",)}
USAGE_ERROR = 4  # pytest's own status of bad input; the other commands end with 2
OPTIONS = {"run": (), "bench": ("--benchmark-only",), "gate": ()}


def main(arguments: Sequence[str]) -> int:
    """Run pytest, the first argument being the command's name."""
    command, *words = arguments
    try:
        found = pytest_arguments(words, TEST_FILES[command], OPTIONS[command])
    except UsageError as error:  # what the project says in pyproject.toml
        print(f"ERROR: {error}", file=sys.stderr)
        return USAGE_ERROR
    whole = whole_run(words, lambda word: _test_of(word) is not None)
    typed = shlex.join([*program(), command, *words])
    return pytest_status(found, {WHOLE_RUN: whole, TYPED: typed})


def pytest_arguments(
    words: Sequence[str], files: Sequence[str] = (), options: Sequence[str] = ()
) -> list[str]:
    """pytest's arguments for a run of the conformance tests.

    Args:
        words: what the user wrote: options as pytest takes them, files, test ids and models.
        files: names of test files, where the words name no test; all where it is empty.
        options: what the command adds.
    """
    chosen, tests = [*options], []
    valued = valued_options()
    before = ""
    for word in words:
        if word.startswith("-") or before in valued:
            chosen.append(word)
        elif (test := _test_of(word)) is not None:
            tests.append(test)
        else:
            chosen.append(_option_of(word))
        before = word
    return [*_settings(), *(tests or _places(files)), *chosen]


def pytest_status(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run pytest in a process of its own, which has the terminal; its exit status."""
    command = [sys.executable, "-m", "pytest", *arguments]
    process = subprocess.Popen(command, env={**os.environ, **(environment or {})})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest ends by it, and reports
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status  # ended by a signal, as a shell tells it


def _settings() -> list[str]:
    """The suite's own pytest settings where it is installed; the user's settings do not apply."""
    return ["-c", str(SETTINGS), f"--rootdir={TESTS}"] if INSTALLED else []


def _places(files: Sequence[str]) -> list[str]:
    if files:
        return [str(TESTS / name) for name in files]
    return [str(TESTS), *([] if INSTALLED else [f"--ignore={TESTS / 'meta'}"])]


def _test_of(word: str) -> str | None:
    """A test's id, or a test file of the suite, as pytest finds it; None for any other word."""
    place, colons, name = word.partition("::")
    known = TESTS / Path(place).name
    if known.is_file() and (colons or not Path(place).is_file() or known.samefile(place)):
        return f"{known}{colons}{name}"
    return None


def _option_of(word: str) -> str:
    """The option that a word stands for."""
    if word.endswith(".onnx") or Path(word).is_dir():
        return f"--artifact={word}"
    if word.endswith(".py"):
        return f"--models-from={word}"
    return f"--model={word}"
