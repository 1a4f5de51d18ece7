"""``onnx-conformance convert``: export a model, validate the file, and keep it if it is valid.

Exit status: 0 valid (or not validated, as asked), 1 invalid and nothing written, 2 bad input.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from onnx_conformance.cli.console import OK, RED, Arguments, progress, say
from onnx_conformance.cli.context import (
    case_with_defaults,
    context,
    named_model,
    only_model,
    read_run,
)
from onnx_conformance.cli.conversion import ConversionReport, ConversionRequest, convert, weights_of
from onnx_conformance.core.case import ExportOptions
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import refuse_unwritable, write_json
from onnx_conformance.perf.options import PerfRun

REPORT = "conversion_report.json"
SUFFIX = ".onnx"


def main(arguments: Sequence[str]) -> int:
    """Run the tool; returns its exit status."""
    console = Console()
    chosen, suite = _parser().parse_known_args(arguments)
    say(console, f"converting {chosen.model}", "bold")
    run = _run(chosen, suite)
    name = chosen.model
    if name.endswith(".py"):
        name = only_model(name, (case.model for case in run.cases))
    model = named_model(name)
    options = ExportOptions(external_data=chosen.external_data)
    case = case_with_defaults(
        model, chosen.exporter, chosen.opset, options=options, variant=chosen.variant
    )
    out = Path(chosen.out or f"models/{_file_stem(case.model)}{SUFFIX}")
    _refuse(out)
    weights = weights_of(model, run.settings)
    say(console, f"by {case.route} at opset {case.opset}, {weights}, to {out}")
    with progress(console, "converting") as tick, context(run, tick) as ready:
        report = convert(ready, ConversionRequest(case, out, chosen.validate))
    path = out.with_name(REPORT)
    write_json(path, asdict(report), "OUT")
    _print(console, report, path)
    return OK if report.output_path else RED


def _parser() -> Arguments:
    parser = Arguments(
        prog="convert",
        description="Export a model, validate the file by every check, keep it if it is valid.",
        epilog="Other options are the suite's: --weights=pretrained, --seed=7, --cache-dir=DIR …",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model", help="a registered model, a pointer (torchvision:NAME …) or FILE.py"
    )
    parser.add_argument("--exporter", default="", help="default: the framework's newest route")
    parser.add_argument("--opset", type=int, help="default: 18, or the route's newest")
    parser.add_argument("--variant", default="", help="convert the export further: int8_static …")
    parser.add_argument("--out", default="", help="default: models/MODEL.onnx")
    parser.add_argument(
        "--external-data", action="store_true", help="keep the weights in a file beside the graph"
    )
    parser.add_argument(
        "--no-validate", dest="validate", action="store_false", help="keep the file unchecked"
    )
    return parser


def _run(chosen: argparse.Namespace, suite: list[str]) -> PerfRun:
    # failing fast: only the native side is computed ahead, and a failure is not explained further
    variant = ["--variant", chosen.variant] if chosen.variant else []
    whose = "--models-from" if chosen.model.endswith(".py") else "--model"
    always = [whose, chosen.model, "--provider", "cpu", "--first-finding"]
    return read_run([*always, *variant, *suite])


def _refuse(out: Path) -> None:
    """Check before a long run that the file can be written.

    Raises:
        UsageError: OUT cannot be an ONNX file.
    """
    if out.suffix.lower() != SUFFIX:
        raise UsageError(f"OUT: {out} does not end in {SUFFIX}; name an {SUFFIX} file to write")
    if out.is_dir():
        raise UsageError(f"OUT: {out} is a folder; name the file to write")
    refuse_unwritable(out, "OUT")


def _file_stem(name: str) -> str:
    """A model's name as a file's."""
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in name)


def _print(console: Console, report: ConversionReport, path: Path) -> None:
    opset, about = report.opset_version, report.about
    if report.nodes is not None:
        size = f"{report.file_size_mb:g} MiB, {report.nodes} nodes"
        say(console, f"{size}, opset {opset.delivered} ({opset.asked} asked)")
    for kind, tensors in (("input", report.inputs), ("output", report.outputs)):
        for tensor in tensors or ():
            say(console, f"{kind} {tensor['name']}: {tensor['dtype']} {tensor['shape']}")
    if report.max_difference is not None:
        say(
            console,
            f"from native: {report.max_difference:.3g} at most, "
            f"{report.mean_difference:.3g} on average ({about.differences})",
        )
    if report.validation_passed:
        say(console, f"✓ valid: {about.evidence}", "bold green")
        for note in about.not_judged:
            say(console, f"warning: {note}", "bold yellow")
    elif report.error:
        say(console, f"✗ {report.error}", "bold red")
    else:
        say(console, "warning: VALIDATE=no: this file was not checked", "bold yellow")
    written = f"{report.output_path} and {path}" if report.output_path else str(path)
    say(console, f"{report.seconds:.1f} s; written: {written}")
