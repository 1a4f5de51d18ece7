"""The table of timings at the end of a run, and the text of its cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from onnx_conformance.catalog.frameworks import EAGER
from onnx_conformance.perf.latency.ratios import Ratio
from onnx_conformance.perf.latency.timing_rows import LatencyRow, NodePlacement

STYLES = {"faster": "green", "slower": "yellow", "open": "dim"}
HEADINGS = (
    "model", "batch", "who", "p50", "p95", "samples/s", "over native eager [95 %]",
    "over fastest native [95 %]", "placement (nodes)", "MiB peak",
)  # fmt: skip
RIGHT = {"batch", "p50", "p95", "samples/s", "MiB peak"}
LEGEND = "=: the interval contains 1, so no difference is shown"


def table(rows: Iterable[LatencyRow]) -> Table:
    """A row a contender, model by model and batch size by batch size."""
    drawn = Table(title="latency, native beside ONNX Runtime", title_justify="left")
    for heading in HEADINGS:
        justify: Any = "right" if heading in RIGHT else "left"
        drawn.add_column(heading, no_wrap=True, justify=justify)
    model, group = "", ""
    for row in rows:
        if group not in ("", row.group):
            drawn.add_section()
        drawn.add_row(
            row.model if row.model != model else "",
            str(row.batch) if row.group != group else "",
            row.label,
            milliseconds(row.times.p50),
            milliseconds(row.times.p95),
            rate(row.times.samples_per_second),
            styled(row.speedup),
            _over_fastest(row),
            placement(row.facts.placement),
            f"{row.facts.memory_peak_mib:,.0f}",
        )
        model, group = row.model, row.group
    return drawn


def milliseconds(seconds: float) -> str:
    """Three digits, with the unit."""
    if seconds < 1e-4:
        return f"{1e6 * seconds:.3g} us"
    return f"{1e3 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def rate(samples: float) -> str:
    """Samples per second, without exponents."""
    return f"{samples:,.0f}" if samples >= 100 else f"{samples:.3g}"


def ratio_text(ratio: Ratio | None) -> str:
    """``1.45x [1.43, 1.47]``, with ``=`` where the interval holds 1; nothing for no ratio."""
    if ratio is None:
        return ""
    value, low, high = map(_times, (ratio.value, ratio.low, ratio.high))
    return f"{value}x [{low}, {high}]{' =' if ratio.undecided else ''}"


def styled(ratio: Ratio | None) -> str:
    """The same in the colour of its verdict, for a table."""
    if ratio is None:
        return ""
    text = ratio_text(ratio).replace("[", r"\[")
    return f"[{STYLES[ratio.verdict]}]{text}[/]"


def placement(placed: NodePlacement) -> str:
    """Nodes by provider: ``CPU 122``; of native, where it runs."""
    words = [
        f"{provider.removesuffix('ExecutionProvider')} {sum(nodes.values())}"
        if isinstance(nodes, Mapping)
        else provider
        for provider, nodes in placed.items()
    ]
    return ", ".join(words)


def _times(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _over_fastest(row: LatencyRow) -> str:
    if row.over_fastest is None:
        return ""
    if row.fastest_native == EAGER:
        return "the same: eager is"
    return f"{styled(row.over_fastest)} ({row.fastest_native})"
