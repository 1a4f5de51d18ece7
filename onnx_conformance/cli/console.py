"""The terminal of the tools: a first line at once, progress, and one line for what is wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_conformance.cli.main import BAD_INPUT
from onnx_conformance.core.errors import (
    CapabilityMissing,
    ConformanceError,
    StageFailure,
    UsageError,
)
from onnx_conformance.core.project import project
from onnx_conformance.report.terminal import render
from onnx_conformance.run.external_artifacts import READ_STAGE

OK, RED, INTERRUPTED = 0, 1, 130
TABLE_WIDTH = 400  # columns that a table may take
Tick = Callable[[dict[str, str]], None]


class Arguments(argparse.ArgumentParser):
    """Arguments whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message}; {self.prog} --help lists the options")


def guarded(name: str, tool: Callable[[], int]) -> int:
    """The exit status of a tool; what it raises on purpose is printed in one line.

    0: done, 1: red, 2: bad input or something that this machine lacks.
    """
    try:
        project().load()
        return tool()
    except (UsageError, CapabilityMissing) as error:
        complain(name, error)
        return BAD_INPUT
    except ConformanceError as error:
        complain(name, error)
        unreadable = isinstance(error, StageFailure) and error.stage == READ_STAGE
        return BAD_INPUT if unreadable else RED
    except KeyboardInterrupt:
        complain(name, "interrupted")
        return INTERRUPTED


def complain(name: str, error: object) -> None:
    """One line on standard error."""
    words = " ".join(str(error).split())
    Console(stderr=True, soft_wrap=True).print(f"[bold red]{name}:[/] {escape(words)}")


def say(console: Console, words: str, style: str = "") -> None:
    """A line as it stands: no markup, no wrapping."""
    console.print(words, style=style or None, markup=False, highlight=False, soft_wrap=True)


def print_table(table: Table, console: Console) -> None:
    """A table whole, however narrow the terminal is: one that is cut says nothing."""
    for line in render(table, width=TABLE_WIDTH, color=console.is_terminal).splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")


@contextmanager
def progress(console: Console, words: str) -> Iterator[Tick]:
    """A line that shows what the workers do, where there is a terminal to show it."""
    with console.status(escape(words)) as status:

        def tick(activities: dict[str, str]) -> None:
            doing = ", ".join(dict.fromkeys(activities.values()))
            status.update(escape(f"{words}: {doing}" if doing else words))

        yield tick
