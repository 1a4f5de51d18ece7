"""``onnx-conformance variants resnet50``: which variant may we ship, and how much faster is it?

Certifies the exported file and each variant, times those that passed beside native, and shows one
table, one page (``.conformance/variants.html``) and data (``variants.json``).
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_conformance.catalog.variants import VARIANTS
from onnx_conformance.cli import suite_runs
from onnx_conformance.cli.console import RED, Arguments, print_table, say
from onnx_conformance.cli.context import OPSET, named_model, only_model, preferred_route
from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.core.files import program, write_json
from onnx_conformance.core.project import project
from onnx_conformance.core.text import size_words
from onnx_conformance.perf.latency.latency_document import LatencyDocument
from onnx_conformance.perf.variant_choice import (
    PLAIN_EXPORT,
    JudgedVariant,
    VariantsDocument,
    VariantTiming,
    front,
    join,
    recommendation,
    slower,
)
from onnx_conformance.report.columns import INCOMPLETE, RED_OUTCOMES
from onnx_conformance.report.document import PROVED_NOTHING
from onnx_conformance.report.pages import write_page
from onnx_conformance.run.user_models import adopt

NAME = "variants"
LEGEND = "*: no other variant that passes is both faster and more exact"
STYLES = {"passed": "green", "latency only": "yellow", "incomplete": "yellow"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Certify, time and report.

    1 where anything is red, 5 where a variant is incomplete, or nothing passed or was timed.
    """
    chosen, rest = _parser().parse_known_args(arguments)
    if chosen.model.endswith(".py"):
        file = chosen.model
        chosen.model, chosen.models_from = only_model(file, adopt([file], ())), [file]
    model = named_model(chosen.model, chosen.models_from)
    exporter = chosen.exporter or preferred_route(model).name
    options = [*_case_options(chosen, exporter), *rest]
    runs = project().outputs / NAME  # the reports of the two runs
    judged = suite_runs.run_checks(runs, options)
    timed = suite_runs.time(runs, options)
    variants = join(judged, timed.rows)
    document = VariantsDocument(
        title=f"{chosen.model}, {exporter}, opset {chosen.opset}",
        keep=_keeping(chosen, exporter),
        around=timed.around,
        batches=tuple(sorted({row.batch for row in timed.rows})),
        variants=tuple(variants),
    )
    _print(Console(), document)
    page, data = project().outputs / "variants.html", project().outputs / "variants.json"
    write_json(data, document.to_json(), NAME)
    drawn = write_page("onnx_conformance.perf.variants_page", page, NAME, document)
    say(Console(), f"{drawn}   data: {data}")
    return _exit_status(judged, timed, variants)


def _case_options(chosen: argparse.Namespace, exporter: str) -> list[str]:
    """The options of both runs, as pytest takes them."""
    names = chosen.variant or [*VARIANTS]
    return [
        f"--model={chosen.model}",
        f"--exporter={exporter}",
        f"--opset={chosen.opset}",
        f"--provider={chosen.provider}",
        *(f"--variant={VARIANTS[name].name}" for name in names),
        *(f"--models-from={file}" for file in chosen.models_from),
        *(f"--batch-size={size}" for size in chosen.batch_size),  # checked before minutes are spent
    ]


def _exit_status(
    judged: ResultsDocument, timed: LatencyDocument, variants: Sequence[JudgedVariant]
) -> int:
    # not all that is red is a variant's: a requirement that was not met, a timed answer
    if RED in (judged["run"]["exit_status"], timed.exit_status):
        return RED
    if any(one.verdict in RED_OUTCOMES for one in variants):
        return RED
    # "latency only" leaves a case incomplete, and is an answer of this table
    nothing = judged["run"]["verdict"] == "proved nothing" or timed.exit_status == PROVED_NOTHING
    return PROVED_NOTHING if nothing or any(one.verdict == INCOMPLETE for one in variants) else 0


def _keeping(chosen: argparse.Namespace, exporter: str) -> str:
    """The command that writes one of the files, judged once more."""
    own = [f"--models-from={file}" for file in chosen.models_from]
    words = [chosen.model, *own, f"--exporter={exporter}", f"--opset={chosen.opset}"]
    words += ["--variant=NAME", "--out=FILE.onnx"]
    return shlex.join([*program(), "convert", *words])


def _print(console: Console, document: VariantsDocument) -> None:
    variants = document.variants
    print_table(table(document.title, document.batches, variants), console)
    for one in variants:
        if one.reason:
            say(console, f"{one.name}: {one.verdict}: {one.reason}")
    say(console, LEGEND)
    for batch in document.batches:
        say(console, recommendation(variants, batch), "bold")
    say(console, f"to keep a file: {document.keep}")


def table(title: str, batches: Sequence[int], variants: Sequence[JudgedVariant]) -> Table:
    """A row for each variant; ``*`` marks those that none beats in both speed and error.

    Several batch sizes stand below each other, so that the table stays as narrow as with one.
    """
    several = len(batches) > 1
    drawn = Table(title=f"variants of {title}", title_justify="left", show_lines=several)
    drawn.add_column("variant", no_wrap=True)
    drawn.add_column("verdict", no_wrap=True)
    decided = any(one.decides for one in variants)
    for heading in ("error", *(["decisions"] if decided else []), "size", "opens in", "MiB peak"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column(
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
        style = STYLES.get(one.verdict, "red" if one.verdict in RED_OUTCOMES else "dim")
        drawn.add_row(
            escape(one.name),
            f"[{style}]{one.verdict}[/]",
            one.error,
            *([one.decides] if decided else []),
            "" if one.bytes is None else size_words(one.bytes),
            "" if one.load_seconds is None else f"{1e3 * one.load_seconds:.0f} ms",
            "" if one.memory_mib is None else f"{one.memory_mib:,.0f}",
            "\n".join(cells),
        )
    return drawn


def _cell(one: JudgedVariant, batch: int, best: bool) -> str:
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


def _warning(at: VariantTiming) -> str:
    if at.over_plain is None or not slower(at):
        return ""
    return f" [yellow]slower than {PLAIN_EXPORT}: {at.over_plain.value:.3g}x[/]"


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
