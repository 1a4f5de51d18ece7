"""``onnx-conformance inspect``: what is in an ONNX file, and which provider runs its nodes.

Exit status: 0 a provider opens it, 1 none does, 2 it is not an ONNX file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from onnx_conformance.catalog.exporters import EXTERNAL
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.cli.console import OK, RED, Arguments, progress, say
from onnx_conformance.cli.context import read_run
from onnx_conformance.cli.file_contents import Weight, operators, weights
from onnx_conformance.core.case import ExternalCase
from onnx_conformance.core.documents import Placement, TensorFacts
from onnx_conformance.core.errors import ConformanceError, UsageError
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.diagnose.messages import NOT_HERE
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.external_artifacts import read_external_artifact
from onnx_conformance.run.probe import ProbeResult
from onnx_conformance.run.provider_sources import survey
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.subject import Artifact
from onnx_conformance.run.worker_queue import WorkerQueues

MOST_WEIGHTS = 10  # weights that are listed
MEBIBYTE = 2**20


def main(arguments: Sequence[str]) -> int:
    """Run the tool; returns its exit status."""
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
    _print_facts(console, artifact)
    stored = weights(model)
    _print_weights(console, stored)
    with progress(console, "opening it on each provider"):
        probes = survey(PROVIDERS, settings.limit)
        usable = [name for name, found in probes.items() if found.usable]
        placements = placements_of(artifact, usable, settings)
    found = operators(model)
    say(console, f"operators: {sum(found.values())} nodes, and how many each provider runs")
    console.print(_nodes(found, placements))
    _print_sessions(console, probes, placements)
    return OK if any(not each.error for each in placements.values()) else RED


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


def _print_facts(console: Console, artifact: Artifact) -> None:
    facts = artifact.facts
    opsets = ", ".join(f"{domain} {version}" for domain, version in facts["domains"].items())
    size = f"{facts['bytes'] / MEBIBYTE:.3g} MiB in {len(facts['files'])} file(s)"
    say(console, f"opset: {opsets}; IR version {facts['ir_version']}; {size}")
    say(console, f"producer: {facts['producer'] or 'not told'}")
    for kind, tensors in (("input", facts["inputs"]), ("output", facts["outputs"])):
        for tensor in tensors:
            say(console, f"{kind} {tensor['name']}: {tensor['dtype']} {_shape(tensor)}")
    dynamic = {name: axes for name, axes in facts["dynamic_axes"].items() if axes}
    named_axes = [
        f"{name} axis {axis} '{dim}'"
        for name, axes in dynamic.items()
        for axis, dim in axes.items()
    ]
    say(console, f"dynamic axes: {', '.join(named_axes) or 'none: every size is fixed'}")
    others = facts["files"][1:]
    say(console, f"external data: {', '.join(others) or 'none'}")


def _shape(tensor: TensorFacts) -> str:
    return "of unknown rank" if tensor["shape"] is None else str(tensor["shape"])


def _print_weights(console: Console, stored: list[Weight]) -> None:
    total = sum(weight.bytes for weight in stored)
    say(console, f"weights: {len(stored)} tensors, {total / MEBIBYTE:.3g} MiB")
    table = Table()
    table.add_column("the largest")
    table.add_column("type")
    table.add_column("shape")
    table.add_column("KiB", justify="right")
    table.add_column("share", justify="right")
    table.add_column("kept in")
    for weight in stored[:MOST_WEIGHTS]:
        share = f"{100 * weight.bytes / total:.1f} %" if total else ""
        size = f"{weight.bytes / 1024:,.1f}"
        shape = str(list(weight.shape))
        table.add_row(_safe(weight.name), weight.dtype, _safe(shape), size, share, weight.where)
    rest = sum(weight.bytes for weight in stored[MOST_WEIGHTS:])
    if len(stored) > MOST_WEIGHTS:
        share = f"{100 * rest / total:.1f} %" if total else ""
        table.add_row(
            f"{len(stored) - MOST_WEIGHTS} more", "", "", f"{rest / 1024:,.1f}", share, ""
        )
    console.print(table)


def _nodes(found: Counter[str], placements: dict[str, FilePlacement]) -> Table:
    """Operators as they stand in the file, and how many of each a provider's session takes."""
    table = Table()
    table.add_column("operator")
    table.add_column("nodes", justify="right")
    for name in placements:
        table.add_column(name, justify="right")
    for operator, count in found.most_common():
        cells = [_cell(placements[name], name, operator) for name in placements]
        table.add_row(_safe(operator), str(count), *cells)
    return table


def _cell(placement: FilePlacement, provider: str, operator: str) -> str:
    if placement.written is None:
        return "?"
    own = placement.written.get(PROVIDERS[provider].ort_name, {})
    _, _, plain = operator.rpartition("::")
    placed = sum(of.get(plain, 0) for of in placement.written.values())
    return str(own.get(plain, 0)) if placed else "–"


def _print_sessions(
    console: Console, probes: dict[str, ProbeResult], placements: dict[str, FilePlacement]
) -> None:
    say(console, "–: no such node is left in the session (folded constants, inlined functions)")
    for name, found in placements.items():
        if found.run is None:
            say(console, f"✗ {name}: cannot open it: {found.error}", "bold red")
            continue
        placed = ", ".join(
            f"{sum(operators.values())} on {provider}" for provider, operators in found.run.items()
        )
        say(console, f"✓ {name}: opens it; optimised, its nodes are {placed or 'none'}", "green")
    absent = [name for name, probed in probes.items() if not probed.usable]
    if absent:
        say(console, f"– {', '.join(absent)}: {NOT_HERE}", "dim")


def _safe(text: str) -> str:
    """Text without rich's markup and without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text).replace("[", r"\[")


LEVELS = ("disabled", "all")  # of graph optimisation: nodes as they are written, and as they run


@dataclass(frozen=True)
class FilePlacement:
    """What a provider's session of a file says.

    Args:
        written: placement of the nodes as they stand in the file; None where it cannot be opened.
        run: placement after ONNX Runtime's own optimisation.
        error: why it cannot be opened; empty if it can.
    """

    written: Placement | None
    run: Placement | None
    error: str = ""


def placements_of(
    artifact: Artifact, names: Iterable[str], settings: Settings
) -> dict[str, FilePlacement]:
    """The nodes of a file that each provider runs, from sessions that were opened."""
    return {name: _placement_on(artifact, name, settings) for name in names}


def external_case(path: Path, provider: str = "cpu") -> ExternalCase:
    """A file of no model that is known here, on a provider."""
    return ExternalCase("", EXTERNAL.name, None, provider, path=str(path), label=path.name)


def _placement_on(artifact: Artifact, name: str, settings: Settings) -> FilePlacement:
    try:
        written, run = (_placement(artifact, name, settings, level) for level in LEVELS)
    except ConformanceError as error:
        return FilePlacement(None, None, " ".join(str(error).split()))
    return FilePlacement(written, run)


def _placement(artifact: Artifact, name: str, settings: Settings, level: str) -> Placement:
    """The nodes that a session places, opened as the suite opens external artifacts."""
    own = replace(settings, graph_level=level)
    workers = RunWorkers(own, Store(own.cache_dir), Clock())
    try:
        return workers.session(external_case(artifact.path, name), artifact).placement
    finally:
        workers.close()
