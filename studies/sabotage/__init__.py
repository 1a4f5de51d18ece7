"""Sabotage: ways to get a pass without evidence. Each must turn a run red, with its cause named.

One decorated function adds a scenario; its docstring is the story. Two kinds:

* ``@answer`` gives back a subject that some worker, file or native side has betrayed. Every check
  that a case requires judges it.
* ``@whole_run`` runs the suite in a process of its own, as a user would.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnx_conformance.core.case import Case
from onnx_conformance.core.registry import Registry
from onnx_conformance.run.subject import Subject
from tests.meta.running import SuiteRun, run_suite

RightOf = Callable[[Case], Subject]
Betray = Callable[[RightOf, Path], Subject]


@dataclass(frozen=True)
class Suite:
    """Runs the suite for one scenario: reports in ``folder``, the cache shared with others."""

    folder: Path
    cache: Path

    def __call__(self, *arguments: str, plugin: str | None = None) -> SuiteRun:
        if not any(argument.startswith("--cache-dir") for argument in arguments):
            arguments = (*arguments, f"--cache-dir={self.cache}")
        return run_suite(self.folder, *arguments, plugin=plugin)


@dataclass(frozen=True)
class Scenario:
    """One way to pass without evidence.

    Args:
        message: what the message must hold, so that it names the cause.
        act: ``(right_of, folder) -> Subject`` for an answer, ``(suite) -> SuiteRun`` for a run.
        check: for an answer, the one check to ask, where not all that a case requires.
    """

    name: str
    kind: Literal["answer", "run"]
    story: str
    message: str
    act: Callable[..., Any]
    check: str = ""


Play = Callable[[Suite], SuiteRun]
SCENARIOS: Registry[Scenario] = Registry("scenario")


def _register(
    kind: Literal["answer", "run"], act: Callable[..., Any], message: str, **more: Any
) -> None:
    story = " ".join((act.__doc__ or "").split())
    name = act.__name__.strip("_").replace("_", " ")
    SCENARIOS.register(name, Scenario(name, kind, story, message, act, **more))


def answer(message: str, *, check: str = "") -> Callable[[Betray], Betray]:
    """Register a betrayed subject."""

    def decorate(act: Betray) -> Betray:
        _register("answer", act, message, check=check)
        return act

    return decorate


def whole_run(message: str) -> Callable[[Play], Play]:
    """Register a run of the suite."""

    def decorate(act: Play) -> Play:
        _register("run", act, message)
        return act

    return decorate


def load_scenarios() -> None:
    """Import every module of scenarios, so that they are registered."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
