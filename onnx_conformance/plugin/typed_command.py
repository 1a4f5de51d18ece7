"""The words of a command line: which options take a value, and the command without a selection."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence

from onnx_conformance.core.files import TYPED, WHOLE_RUN, program
from onnx_conformance.plugin.options import options

# pytest's own options, and its plugins', whose value may be the next word.
VALUED_ELSEWHERE = frozenset((
    "-k", "-m", "-n", "-p", "-o", "-r", "-W", "-c", "--tb", "--maxfail", "--deselect",
    "--durations", "--dist", "--rootdir", "--junitxml", "--junit-xml", "--log-file",
    "--log-level", "--basetemp", "--override-ini", "--pythonwarnings", "--tx",
    "--hypothesis-profile", "--hypothesis-seed", "--numprocesses", "--color", "--capture",
    "--ignore", "--verbosity", "--benchmark-json", "--benchmark-storage", "--benchmark-name",
    "--benchmark-sort",
))  # fmt: skip
SELECTING_OPTIONS = ("-k", "-m", "--deselect")  # tests; each takes a value


def valued_options() -> set[str]:
    """The options whose value may be the next word."""
    return {one.name for one in options() if one.takes_value} | VALUED_ELSEWHERE


def whole_run(words: Sequence[str], is_test: Callable[[str], bool]) -> str:
    """The command of a run of every check: ``words`` without ``-k``, ``-m`` and tests.

    Args:
        words: what was typed after ``onnx-conformance run`` or ``pytest``.
        is_test: whether a word that is no option names tests.
    """
    valued, kept, before = valued_options(), [], ""
    for word in words:
        value = before in valued
        selects = before in SELECTING_OPTIONS if value else _selects(word)
        if not selects and (value or word.startswith("-") or not is_test(word)):
            kept.append(word)
        before = "" if value else word
    return shlex.join([*program(), "run", *kept])


def _selects(word: str) -> bool:
    if word.startswith("--"):
        return word.partition("=")[0] in SELECTING_OPTIONS
    return word[:2] in SELECTING_OPTIONS


def typed_command(pytest_words: Sequence[str]) -> str:
    """The command that started this run, as it was typed."""
    return os.environ.get(TYPED) or shlex.join(["pytest", *pytest_words])


def whole_run_of(pytest_words: Sequence[str]) -> str:
    """The command that runs every check of the run that this process is part of.

    Args:
        pytest_words: what was typed after ``pytest``, if it was: its words name tests alone.
    """
    return os.environ.get(WHOLE_RUN) or whole_run(pytest_words, lambda word: True)
