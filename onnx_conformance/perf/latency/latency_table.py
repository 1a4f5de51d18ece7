"""The table of timings at the end of a run, and the text of its cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from onnx_conformance.catalog.frameworks import EAGER
from onnx_conformance.perf.latency.latency_document import verdict_on

STYLES = {"faster": "green", "slower": "yellow", "open": "dim", "": ""}
HEADINGS = (
    "model", "batch", "who", "p50", "p95", "samples/s", "over native eager [95 %]",
    "over fastest native [95 %]", "placement (nodes)", "MiB peak",
)  # fmt: skip
RIGHT = {"batch", "p50", "p95", "samples/s", "MiB peak"}
LEGEND = "=: the interval contains 1, so no difference is shown"


def table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """A row a contender, model by model and batch size by batch size."""
    drawn = Table(title="latency, native beside ONNX Runtime", title_justify="left")
    for heading in HEADINGS:
        justify: Any = "right" if heading in RIGHT else "left"
        drawn.add_column(heading, no_wrap=True, justify=justify)
    previous: tuple[str, int] | None = None
    for row in rows:
        group = (row["model"], row["batch"])
        if previous not in (None, group):
            drawn.add_section()
        new_model = previous is None or previous[0] != group[0]
        drawn.add_row(
            row["model"] if new_model else "",
            str(row["batch"]) if previous != group else "",
            row["label"],
            milliseconds(row["p50"]),
            milliseconds(row["p95"]),
            rate(row["samples_per_second"]),
            _ratio(row["speedup"]),
            _over_fastest(row),
            placement(row["placement"]),
            f"{row['memory_peak_mib']:,.0f}",
        )
        previous = group
    return drawn


def milliseconds(seconds: float) -> str:
    """Three digits, with the unit."""
    if seconds < 1e-4:
        return f"{1e6 * seconds:.3g} us"
    return f"{1e3 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def rate(samples: float) -> str:
    """Samples per second, without exponents."""
    return f"{samples:,.0f}" if samples >= 100 else f"{samples:.3g}"


def told(ratio: Mapping[str, Any] | None) -> str:
    """``1.45x [1.43, 1.47]``, with ``=`` where the interval holds 1; nothing for no ratio."""
    if ratio is None:
        return ""
    mark = " =" if ratio["holds_1"] else ""
    value, low, high = (_times(ratio[name]) for name in ("ratio", "low", "high"))
    return f"{value}x [{low}, {high}]{mark}"


def placement(placed: Mapping[str, Any]) -> str:
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


def _over_fastest(row: Mapping[str, Any]) -> str:
    if row["over_fastest"] is None:
        return ""
    if row["fastest_native"] == EAGER:
        return "the same: eager is"
    return f"{_ratio(row['over_fastest'])} ({row['fastest_native']})"


def _ratio(ratio: Mapping[str, Any] | None) -> str:
    text, style = told(ratio).replace("[", r"\["), STYLES[verdict_on(ratio)]
    return f"[{style}]{text}[/]" if style else text
