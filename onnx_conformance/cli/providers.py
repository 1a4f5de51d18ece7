"""``onnx-conformance providers``: which execution providers work here, and how to get others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.cli.console import OK, RED, Arguments, say
from onnx_conformance.run.probe import ProbeResult
from onnx_conformance.run.provider_sources import (
    LIBRARY_OPTION,
    adopt_engines,
    adopt_libraries,
    survey,
)

NAME = "providers"


def main(arguments: Sequence[str] | None = None) -> int:
    """Probe and report; fail where a required provider does not work."""
    chosen = _parser().parse_args(arguments)
    adopt_libraries(chosen.provider_library, chosen.limit)
    adopt_engines(chosen.engine, chosen.limit)
    required = [each for name in chosen.require for each in _required(name)]
    names = list(dict.fromkeys([*(chosen.provider or PROVIDERS), *required]))
    found = survey(names, chosen.limit)
    if chosen.json:
        print(json.dumps(as_data(found), indent=2))
    else:
        _print(Console(), found)
    unmet = [name for name in chosen.require if not _met(name, found)]
    for name in unmet:
        say(Console(stderr=True), f"--require {name}: it does not work here", "bold red")
    return RED if unmet else OK


def as_data(found: dict[str, ProbeResult]) -> dict[str, dict[str, object]]:
    """What was found, with each provider's record."""
    return {
        name: {**asdict(result), "record": asdict(PROVIDERS[name])}
        for name, result in found.items()
    }


def table(found: dict[str, ProbeResult]) -> Table:
    """A table: whether each provider works, the stage that failed, and what to do.

    Modes of one provider that fail for the same reason share a row.
    """
    rows: dict[ProbeResult, list[str]] = {}
    for name, result in found.items():
        rows.setdefault(replace(result, seconds=0.0), []).append(name)
    shown = Table(title="execution providers", show_lines=True)
    for column in ("provider", "computes in", "works"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("what happened, and what to do", overflow="fold")
    for result, names in rows.items():
        remedy = f"\n[bold]to use it:[/] {escape(result.remedy)}" if result.remedy else ""
        shown.add_row(
            "\n".join(names),
            "\n".join(PROVIDERS[name].precision for name in names),
            "[green]yes[/]" if result.usable else f"[red]no[/]\n{result.stage}",
            f"{escape(result.reason)}{'' if result.usable else remedy}",
        )
    return shown


def _parser() -> Arguments:
    parser = Arguments(prog="providers", description=__doc__)
    for option, metavar, words in (
        ("--provider", "NAME", "probe only this one (repeatable)"),
        ("--require", "NAME", "fail unless it works; gpu: any GPU provider (repeatable)"),
        (LIBRARY_OPTION, "NAME=PATH", "a plugin provider's library (repeatable)"),
        ("--engine", "LABEL=SPEC", "a provider of another environment (repeatable)"),
    ):
        parser.add_argument(option, action="append", default=[], metavar=metavar, help=words)
    parser.add_argument("--json", action="store_true", help="as data")
    parser.add_argument(
        "--limit", type=float, default=60.0, metavar="SECONDS", help="for each call (default: 60)"
    )
    return parser


def _required(name: str) -> list[str]:
    """The providers that a requirement names: all on a GPU for ``gpu``."""
    if name == "gpu":
        return [each.name for each in PROVIDERS.values() if each.gpu]
    return [PROVIDERS[name].name]


def _met(name: str, found: dict[str, ProbeResult]) -> bool:
    return any(found[each].usable for each in _required(name))


def _print(console: Console, found: dict[str, ProbeResult]) -> None:
    console.print(table(found))
    seconds = sum(result.seconds for result in found.values())
    working = ", ".join(name for name, result in found.items() if result.usable) or "none"
    console.print(f"available: {working} (probed in {seconds:.1f} s)")
