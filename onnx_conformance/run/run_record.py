"""A run: its options, and its settings, cases and rules as decided before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from onnx_conformance.core.case import Case
from onnx_conformance.core.settings import Localizing, Settings
from onnx_conformance.core.tolerances import Tolerances
from onnx_conformance.run.known_failures import KnownFailure
from onnx_conformance.run.selection import Selection
from onnx_conformance.run.shards import Shard

OptionValues = Callable[..., Any]  # an option's value by its name: ``option("models_from")``


class Configuration(Protocol):
    """The part of pytest's configuration that a run is made of; tools have one of their own.

    ``args``: the places and test ids on the command line. ``option``: ``collectonly`` and ``help``.
    """

    args: list[str]
    option: Any

    def getoption(self, name: str, default: Any = ...) -> Any:
        """The value of an option; the default where there is no such option."""


SEVERAL = {"action": "append", "default": []}  # settings of an option that may be repeated
SWITCH = {"action": "store_true"}  # of one without a value


@dataclass(frozen=True)
class Option:
    """An option of a run.

    Args:
        name: as it is typed, such as ``--model``.
        metavar: what stands for its value in the help; None where it has none, or choices.
        settings: the other keywords of ``argparse``'s ``add_argument``.
    """

    name: str
    metavar: str | None
    help: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def takes_value(self) -> bool:
        """Whether the next word may be its value."""
        return self.settings.get("action", "store") in ("store", "append")

    def add_to(self, add_argument: Callable[..., Any]) -> None:
        """Add it by a parser's ``add_argument``, or the ``addoption`` of a group of pytest's."""
        metavar = {} if self.metavar is None else {"metavar": self.metavar}
        add_argument(self.name, help=self.help, **metavar, **self.settings)


@dataclass(frozen=True)
class Run:
    """The settings, cases and rules of a run, fixed before the first test."""

    settings: Settings
    selection: Selection
    cases: tuple[Case, ...]
    tolerances: Tolerances
    known_failures: tuple[KnownFailure, ...]
    required: tuple[str, ...]
    models_from: tuple[str, ...]
    against: str
    notes: tuple[str, ...]
    refused: tuple[str, ...]  # a line each: the run goes on without these models, and is red
    frameworks: tuple[str, ...]
    images: tuple[Path, ...]
    temporary_cache: bool
    resume: bool
    cache_limit: int | None
    report_json: Path
    report_html: Path | None
    report_md: Path | None
    report_sarif: Path | None
    report_codequality: Path | None
    history: Path | None
    save_onnx: Path | None
    repro_dir: Path
    shard: Shard | None
    bundles: int
    localize: Localizing
