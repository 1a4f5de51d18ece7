"""``onnx-conformance variants resnet50``: which variant may we ship, and how much faster is it?

Certifies the exported file and each variant, times those that passed beside native, and shows one
table, one page (``.conformance/variants.html``) and data (``variants.json``).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_conformance.catalog.exporters import EXPORTERS
from onnx_conformance.catalog.variants import VARIANTS
from onnx_conformance.cli import suite
from onnx_conformance.cli.context import named_model
from onnx_conformance.cli.terminal import Arguments, guarded, say, told_pages
from onnx_conformance.core.extras import page_module
from onnx_conformance.core.files import PROGRAM, write_whole
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.perf.variants.choice import (
    PLAIN,
    Timed,
    Variant,
    answer,
    front,
    join,
    slower,
)
from onnx_conformance.report.document import IN_PART, PROVED_NOTHING
from onnx_conformance.report.terminal import render as drawn

NAME = "variants"
NEWEST_FIRST = ("torch_dynamo", "tf2onnx_function")  # the routes to be fast on
OPSET = 18
RED = 1
WIDE = 400  # columns at most, so that no cell is cut
MARK = "*: no other variant that passes is both faster and more exact"
NOTHING = "proved nothing"
STYLES = {"passed": "green", "latency only": "yellow", "incomplete": "yellow"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Certify, time and report.

    1 where anything is red, 5 where a variant is incomplete, or nothing passed or was timed.
    """
    chosen, rest = _parser().parse_known_args(arguments)
    model = named_model(chosen.model, chosen.models_from)
    exporter = chosen.exporter or _default_exporter(model)
    names = chosen.variant or [*VARIANTS]
    options = [
        f"--model={chosen.model}",
        f"--exporter={exporter}",
        f"--opset={chosen.opset}",
        f"--provider={chosen.provider}",
        *(f"--variant={VARIANTS[name].name}" for name in names),
        *(f"--models-from={file}" for file in chosen.models_from),
        *(f"--batch-size={size}" for size in chosen.batch_size),  # checked before minutes are spent
        *rest,
    ]
    runs = project().outputs / NAME  # the reports of the two runs
    judged = suite.run_checks(runs, options)
    timed = suite.time(runs, options)
    variants = join(judged, timed)
    document = {
        "title": f"{chosen.model}, {exporter}, opset {chosen.opset}",
        "keep": _keeping(chosen, exporter),
        **suite.around(timed),
        "batches": sorted({row["batch"] for row in timed["rows"]}),
    }
    _tell(Console(), document, variants)
    _write(document, variants)
    ended = (judged["run"]["exit_status"], timed["exit_status"])
    # not all that is red is a variant's: a requirement that was not met, a timed answer
    if RED in ended or any(one.verdict in ("failed", "error") for one in variants):
        return RED
    # "latency only" leaves a case incomplete, and is an answer of this table
    nothing = judged["run"]["verdict"] == NOTHING or timed["exit_status"] == PROVED_NOTHING
    return PROVED_NOTHING if nothing or any(one.verdict == IN_PART for one in variants) else 0


def _keeping(chosen: argparse.Namespace, exporter: str) -> str:
    """The command that writes one of the files, judged once more."""
    own = [f"--models-from={file}" for file in chosen.models_from]
    words = [chosen.model, *own, f"--exporter={exporter}", f"--opset={chosen.opset}"]
    words += ["--variant=NAME", "--out=FILE.onnx"]
    return f"{PROGRAM} convert {shlex.join(words)}"


def _default_exporter(model: ModelSpec) -> str:
    known = [name for name in NEWEST_FIRST if EXPORTERS[name].framework == model.framework]
    return known[0] if known else NEWEST_FIRST[0]


def _tell(console: Console, document: dict[str, Any], variants: list[Variant]) -> None:
    shown = table(document["title"], document["batches"], variants)
    for line in drawn(shown, width=WIDE, color=console.is_terminal).splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")
    for one in variants:
        if one.reason:
            say(console, f"{one.name}: {one.verdict}: {one.reason}")
    say(console, MARK)
    for batch in document["batches"]:
        say(console, answer(variants, batch), "bold")
    say(console, f"to keep a file: {document['keep']}")


def table(title: str, batches: Sequence[int], variants: Sequence[Variant]) -> Table:
    """A row for each variant; ``*`` marks those that none beats in both speed and error.

    Several batch sizes stand below each other, so that the table stays as narrow as with one.
    """
    several = len(batches) > 1
    lay = Table(title=f"variants of {title}", title_justify="left", show_lines=several)
    lay.add_column("variant", no_wrap=True)
    lay.add_column("verdict", no_wrap=True)
    decided = any(one.decides for one in variants)
    for heading in ("error", *(["decisions"] if decided else []), "MB", "opens in", "MiB peak"):
        lay.add_column(heading, justify="right", no_wrap=True)
    lay.add_column(
        "over native" + "".join(f", batch {batch}" for batch in batches if not several),
        no_wrap=True,
    )
    fronts = {batch: {one.name for one in front(variants, batch)} for batch in batches}
    for one in variants:
        cells = [
            f"{f'b{batch:<3} ' if several else ''}{cell}"
            for batch in batches
            if (cell := _cell(one, batch, one.name in fronts[batch]))
        ]
        style = STYLES.get(one.verdict, "red" if one.verdict in ("failed", "error") else "dim")
        lay.add_row(
            escape(one.name),
            f"[{style}]{one.verdict}[/]",
            one.told,
            *([one.decides] if decided else []),
            "" if one.bytes is None else f"{one.bytes / 1e6:.1f}",
            "" if one.load_seconds is None else f"{1e3 * one.load_seconds:.0f} ms",
            "" if one.memory_mib is None else f"{one.memory_mib:,.0f}",
            "\n".join(cells),
        )
    return lay


def _cell(one: Variant, batch: int, best: bool) -> str:
    at = one.at(batch)
    if at is None:
        return ""
    warned = _warning(at)
    ratio = at.over_native
    return (
        escape(f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]")
        + (" *" if best else "")
        + warned
    )


def _warning(at: Timed) -> str:
    if at.over_plain is None or not slower(at):
        return ""
    return f" [yellow]slower than {PLAIN}: {at.over_plain.value:.3g}x[/]"


def _write(document: dict[str, Any], variants: list[Variant]) -> None:
    folder = project().outputs
    plain = {**document, "variants": [asdict(one) for one in variants]}
    page, data = folder / "variants.html", folder / "variants.json"
    write_whole(data, json.dumps(plain, indent=1).encode(), NAME)
    with told_pages(data):
        module = page_module("onnx_conformance.perf.variants.variants_page")
        write_whole(page, module.render(document, variants).encode(), NAME)
        say(Console(), f"page: {page}   data: {data}")


def _parser() -> Arguments:
    parser = Arguments(prog="variants", description=__doc__, allow_abbrev=False)
    parser.add_argument("model", help="a model as --model takes it")
    parser.add_argument("--exporter", default="", help="the route (default: the newest)")
    parser.add_argument("--opset", type=int, default=OPSET, help="(default: %(default)s)")
    parser.add_argument("--provider", default="cpu", help="(default: %(default)s)")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="NAME", help="(default: all; repeatable)"
    )
    parser.add_argument(
        "--batch-size", action="append", default=[], metavar="N", help="(repeatable)"
    )
    parser.add_argument(
        "--models-from", action="append", default=[], metavar="FILE", help="(repeatable)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(guarded(NAME, main))
