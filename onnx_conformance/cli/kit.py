"""``onnx-conformance kit``: what another machine needs to answer what a run here asks.

Runs the conformance tests once on the CPU here and records the files, the inputs and their order.
The zip that is left holds no expected answer. Where it is unpacked, ``python run.py`` needs NumPy
and ONNX Runtime alone; what it writes is judged by ``onnx-conformance run … --answers=DIR``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from onnx_conformance.catalog.providers import CPU, PROVIDERS
from onnx_conformance.cli.console import Arguments, guarded, say
from onnx_conformance.cli.run import pytest_arguments, pytest_status
from onnx_conformance.core.errors import ConformanceError, UsageError
from onnx_conformance.core.files import PROGRAM, refuse_unwritable
from onnx_conformance.report.document import PROVED_NOTHING
from onnx_conformance.run.kit import RECORDED_IN

NAME = "kit"
MEBIBYTE = 2**20
FINISHED_STATUSES = (0, 1, PROVED_NOTHING)  # a red rehearsal leaves a kit all the same


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a kit; the exit status of its rehearsal here."""
    chosen, words = _parser().parse_known_args(arguments)
    out = Path(chosen.out)
    providers = list(dict.fromkeys(chosen.provider)) or [CPU.name]
    for name in providers:
        PROVIDERS[name]
    if any(word.startswith(("-n", "--numprocesses", "--tx")) for word in words):
        raise UsageError("a kit is recorded by one process: leave out -n")
    refuse_unwritable(out, "--out")
    with tempfile.TemporaryDirectory(prefix="conformance-kit-") as name:
        folder, pages = Path(name) / "kit", Path(name)
        engines = [f"--engine=kit-{each}:{each}={RECORDED_IN}{folder}" for each in providers]
        labels = [f"--provider=kit-{each}" for each in providers]
        quiet = ["--no-localize", "--bundles=0", f"--report-html={pages / 'report.html'}"]
        quiet += [f"--report-json={pages / 'results.json'}"]
        status = pytest_status(pytest_arguments([*words, *engines, *labels, *quiet]))
        if status not in FINISHED_STATUSES or not (folder / "kit.json").is_file():
            raise ConformanceError("no kit was made: what pytest said stands above")
        _finish(folder, providers[0], words)
        _zip(folder, out)
    size = out.stat().st_size / MEBIBYTE
    say(Console(), f"kit: {out} ({size:.1f} MiB). On the other machine: unpack it, python run.py")
    return status


def _finish(folder: Path, provider: str, words: Sequence[str]) -> None:
    """Tell in kit.json which provider is meant, and what judges the answers."""
    path = folder / "kit.json"
    judge = shlex.join([*PROGRAM.split(), "run", *words])
    document = {**json.loads(path.read_text()), "provider": provider, "judge": judge}
    path.write_text(json.dumps(document, indent=1))


def _zip(folder: Path, out: Path) -> None:
    with zipfile.ZipFile(out, "w") as kit:
        for path in sorted(folder.rglob("*")):
            kit.write(path, path.relative_to(folder))


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog=NAME,
        description=__doc__,
        allow_abbrev=False,
        epilog="Everything else is as of 'run': models, --exporter, --seed …",
    )
    parser.add_argument("--out", default="kit.zip", help="default: kit.zip")
    parser.add_argument(
        "--provider",
        action="append",
        default=[],
        metavar="NAME",
        help=f"to be run there; chooses the checks, and so the inputs (default: {CPU.name}; "
        "repeatable)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(guarded(NAME, main))
