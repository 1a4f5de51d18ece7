"""``onnx-conformance inspect``: what is in an ONNX file, and which provider runs its nodes.

Exit status: 0 a provider opens it, 1 none does, 2 it is not an ONNX file.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.cli.context import read_run
from onnx_conformance.cli.file_contents import Weight, operators, weights
from onnx_conformance.cli.node_placement import Taken, external_case, probe_all, take_all
from onnx_conformance.cli.terminal import OK, RED, Arguments, guarded, progress, say
from onnx_conformance.core.documents import TensorFacts
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.settings import Settings
from onnx_conformance.session.external_artifacts import read_external_artifact
from onnx_conformance.session.probe import ProbeResult
from onnx_conformance.session.subject import Artifact
from onnx_conformance.session.worker_queue import Clock, WorkerQueues

LARGEST = 10  # weights that are listed
MEBIBYTE = 2**20


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return guarded("inspect", lambda: _main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
    console = Console()
    parser = Arguments(
        prog="inspect",
        description="What is in an ONNX file, and which provider runs which of its nodes.",
        epilog="Other options are the suite's: --artifact-limit nodes=N, --call-limit=SECONDS …",
        allow_abbrev=False,
    )
    parser.add_argument("artifact", help="an ONNX file")
    chosen, suite = parser.parse_known_args(arguments)
    path = Path(chosen.artifact)
    if not path.is_file():
        raise UsageError(f"ARTIFACT: there is no file {path}")
    say(console, str(path), "bold")
    settings = read_run(suite).settings
    artifact = read(path, settings)
    model = load_model(artifact.path, weights=False)
    _tell_facts(console, artifact)
    stored = weights(model)
    _tell_weights(console, stored)
    with progress(console, "opening it on each provider"):
        probes = probe_all(settings.limit)
        usable = [name for name, found in probes.items() if found.usable]
        taken = take_all(artifact, usable, settings)
    found = operators(model)
    say(console, f"operators: {sum(found.values())} nodes, and how many each provider runs")
    console.print(_nodes(found, taken))
    _tell_sessions(console, probes, taken)
    return OK if any(not each.error for each in taken.values()) else RED


def read(path: Path, settings: Settings) -> Artifact:
    """The file, within the limits that hold for files of unknown origin.

    Raises:
        StageFailure: it cannot be read.
    """
    queues = WorkerQueues(settings, Clock())
    try:
        return read_external_artifact(external_case(path), queues)
    finally:
        queues.close()


def _tell_facts(console: Console, artifact: Artifact) -> None:
    facts = artifact.facts
    opsets = ", ".join(f"{domain} {version}" for domain, version in facts["domains"].items())
    size = f"{facts['bytes'] / MEBIBYTE:.3g} MiB in {len(facts['files'])} file(s)"
    say(console, f"opset: {opsets}; IR version {facts['ir_version']}; {size}")
    say(console, f"producer: {facts['producer'] or 'not told'}")
    for kind, tensors in (("input", facts["inputs"]), ("output", facts["outputs"])):
        for tensor in tensors:
            say(console, f"{kind} {tensor['name']}: {tensor['dtype']} {_shape(tensor)}")
    dynamic = {name: axes for name, axes in facts["dynamic_axes"].items() if axes}
    told = [
        f"{name} axis {axis} '{dim}'"
        for name, axes in dynamic.items()
        for axis, dim in axes.items()
    ]
    say(console, f"dynamic axes: {', '.join(told) or 'none: every size is fixed'}")
    others = facts["files"][1:]
    say(console, f"external data: {', '.join(others) or 'none'}")


def _shape(tensor: TensorFacts) -> str:
    return "of unknown rank" if tensor["shape"] is None else str(tensor["shape"])


def _tell_weights(console: Console, stored: list[Weight]) -> None:
    total = sum(weight.bytes for weight in stored)
    say(console, f"weights: {len(stored)} tensors, {total / MEBIBYTE:.3g} MiB")
    table = Table()
    table.add_column("the largest")
    table.add_column("type")
    table.add_column("shape")
    table.add_column("KiB", justify="right")
    table.add_column("share", justify="right")
    table.add_column("kept in")
    for weight in stored[:LARGEST]:
        share = f"{100 * weight.bytes / total:.1f} %" if total else ""
        size = f"{weight.bytes / 1024:,.1f}"
        shape = str(list(weight.shape))
        table.add_row(_safe(weight.name), weight.dtype, _safe(shape), size, share, weight.where)
    rest = sum(weight.bytes for weight in stored[LARGEST:])
    if len(stored) > LARGEST:
        share = f"{100 * rest / total:.1f} %" if total else ""
        table.add_row(f"{len(stored) - LARGEST} more", "", "", f"{rest / 1024:,.1f}", share, "")
    console.print(table)


def _nodes(found: Counter[str], taken: dict[str, Taken]) -> Table:
    """Operators as they stand in the file, and how many of each a provider's session takes."""
    table = Table()
    table.add_column("operator")
    table.add_column("nodes", justify="right")
    for name in taken:
        table.add_column(name, justify="right")
    for operator, count in found.most_common():
        cells = [_cell(taken[name], name, operator) for name in taken]
        table.add_row(_safe(operator), str(count), *cells)
    return table


def _cell(taken: Taken, provider: str, operator: str) -> str:
    if taken.written is None:
        return "?"
    own = taken.written.get(PROVIDERS[provider].ort_name, {})
    _, _, plain = operator.rpartition("::")
    placed = sum(of.get(plain, 0) for of in taken.written.values())
    return str(own.get(plain, 0)) if placed else "–"


def _tell_sessions(
    console: Console, probes: dict[str, ProbeResult], taken: dict[str, Taken]
) -> None:
    say(console, "–: no such node is left in the session (folded constants, inlined functions)")
    for name, found in taken.items():
        if found.run is None:
            say(console, f"✗ {name}: cannot open it: {found.error}", "bold red")
            continue
        placed = ", ".join(
            f"{sum(operators.values())} on {provider}" for provider, operators in found.run.items()
        )
        say(console, f"✓ {name}: opens it; optimised, its nodes are {placed or 'none'}", "green")
    for name, probed in probes.items():
        if not probed.usable:
            say(console, f"– {name}: not available: {probed.reason}", "dim")


def _safe(text: str) -> str:
    """Text without rich's markup and without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text).replace("[", r"\[")


if __name__ == "__main__":
    sys.exit(main())
