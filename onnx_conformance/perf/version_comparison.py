"""Verdicts and paired speeds of several ONNX Runtimes beside those of this environment.

A place is a provider of one environment: ``cpu`` here, ``ort-1.24.4``, ``openvino``. Recorded
answers of other machines are places, too: compared with the first of them, and not timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnx_conformance.core.documents import CaseEntry, ResultsDocument
from onnx_conformance.diagnose.messages import place_of
from onnx_conformance.perf.latency.latency_document import LatencyDocument
from onnx_conformance.perf.latency.ratios import Ratio, paired_ratio
from onnx_conformance.perf.latency.timing_rows import LatencyRow
from onnx_conformance.report.columns import (
    INCOMPLETE,
    KNOWN,
    PROVED,
    SKIPPED,
    cell_of,
    kind_of,
    why,
)

ABSENT = "absent"  # of a place that has no such case
PASSED_KINDS = (PROVED, INCOMPLETE)
PLAIN_FORM = "plain"  # the form that is compared; sessions on a GPU are timed in others too
NEWEST_ONLY = "only the plain export of a route, at its newest opset, is; --opset times others"


@dataclass(frozen=True)
class VersionCell:
    """A case at one place.

    Args:
        kind: as :mod:`onnx_conformance.report.document` calls its verdict, or ``absent``.
        mark, score: as the matrix words it.
        reason: why it did not pass every check; empty if it did.
        seconds: its median time by batch size, where it was timed.
        ratios: by batch size, the time here over its own, paired by rounds: how many times as
            fast it is as here.
        untimed: by batch size, why it has no ratio.
    """

    kind: str = ABSENT
    mark: str = ""
    score: str = ""
    reason: str = "no such case was selected there"
    seconds: Mapping[int, float] = field(default_factory=dict)
    ratios: Mapping[int, Ratio] = field(default_factory=dict)
    untimed: Mapping[int, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check that was run was passed; only PROVED ran all."""
        return self.kind in PASSED_KINDS


@dataclass(frozen=True)
class VersionLine:
    """A model by one route at one opset, at every place."""

    model: str
    exporter: str
    opset: str
    cells: Mapping[str, VersionCell]

    @property
    def name(self) -> str:
        """``resnet18 torch_dynamo opset 18``."""
        opset = f" opset {self.opset}" if self.opset else ""
        return f"{self.model} {self.exporter}{opset}"


@dataclass(frozen=True)
class Comparison:
    """The lines of all models at all places.

    Args:
        here: the place that the others are compared with.
        others: the places that a question was asked about.
        batches: the batch sizes that are timed; none of recorded answers.
        probes: what each place's probe said.
    """

    here: str
    others: tuple[str, ...]
    batches: tuple[int, ...]
    lines: tuple[VersionLine, ...]
    probes: Mapping[str, str]

    @property
    def places(self) -> tuple[str, ...]:
        """The places, one a column, the compared one first."""
        return (self.here, *self.others)

    @property
    def recorded(self) -> bool:
        """Whether the places are recorded answers of other machines."""
        return not self.batches

    @property
    def base(self) -> str:
        """Where the place is that the others are compared with, in a sentence."""
        return f"on {self.here}" if self.recorded else "here"

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of the columns."""
        return (self.here if self.recorded else f"{self.here} (here)", *self.others)

    def cells(self, place: str) -> list[tuple[VersionLine, VersionCell]]:
        """The cells of a place's column."""
        return [(line, line.cells[place]) for line in self.lines]

    def judged(self, place: str) -> bool:
        """Whether any case reached a verdict there."""
        return any(cell.kind not in (ABSENT, SKIPPED) for _, cell in self.cells(place))


def join(
    results: ResultsDocument,
    latency: LatencyDocument | None,
    *,
    here: str,
    others: Sequence[str],
    batches: Sequence[int],
) -> Comparison:
    """The comparison, from the documents of a certification and of timings.

    Args:
        latency: None where nothing was worth timing.
        others: the places that must be answered for, whether or not the documents know them.
    """
    timings = Timings(latency)
    cases = [case for case in results["cases"] if not case["option"]]  # those are of one place
    found = dict.fromkeys(case["provider"] for case in cases)
    names = tuple(dict.fromkeys([*others, *(name for name in found if name != here)]))
    lines: dict[tuple[str, ...], dict[str, CaseEntry]] = {}
    for case in cases:
        lines.setdefault(_key(case), {})[case["provider"]] = case
    return Comparison(
        here,
        names,
        tuple(batches),
        tuple(_line(key, there, (here, *names), timings, batches) for key, there in lines.items()),
        {name: probe["reason"] for name, probe in results["environment"]["providers"].items()},
    )


def _key(case: CaseEntry) -> tuple[str, ...]:
    """What places share: the file, and the graph level where a run has several."""
    level = f" @{case['graph_level']}" if case["graph_level"] else ""
    opset = str(case["opset_requested"] or case["opset"] or "")
    name = str(case["id"]).removesuffix(f"-{place_of(case)}")
    return case["model"], f"{case['exporter']}{level}", opset, name


def _line(
    key: tuple[str, ...],
    there: Mapping[str, CaseEntry],
    places: Iterable[str],
    timings: Timings,
    batches: Sequence[int],
) -> VersionLine:
    here, *others = places
    base = there.get(here)
    cells = {place: _cell(there.get(place), timings, batches) for place in (here, *others)}
    for place in others:
        speeds = {batch: _speed(base, there.get(place), batch, timings) for batch in batches}
        ratios = {batch: one for batch, one in speeds.items() if isinstance(one, Ratio)}
        untimed = {batch: one for batch, one in speeds.items() if isinstance(one, str)}
        cells[place] = replace(cells[place], ratios=ratios, untimed=untimed)
    model, exporter, opset, _ = key
    return VersionLine(model, exporter, opset, cells)


def _cell(case: CaseEntry | None, timings: Timings, batches: Sequence[int]) -> VersionCell:
    if case is None:
        return VersionCell()
    rows = {batch: timings.row(case, batch) for batch in batches}
    seconds = {batch: row.times.p50 for batch, row in rows.items() if row is not None}
    return VersionCell(kind_of(case), *cell_of(case), why(case), seconds)


def _speed(
    base: CaseEntry | None, case: CaseEntry | None, batch: int, timings: Timings
) -> Ratio | str:
    """How many times as fast it is as here, or why that is not known."""
    rounds = []
    for where, one in (("here", base), ("there", case)):
        row = timings.row(one, batch) if one is not None else None
        # what is known to fail is timed only where it fails beyond ordinary inputs
        if (
            one is None
            or kind_of(one) not in (*PASSED_KINDS, KNOWN)
            or (kind_of(one) == KNOWN and not row)
        ):
            return f"did not pass every check {where}"
        if row is None:
            return f"not timed {where} ({timings.why(one, batch)})"
        rounds.append(np.array(row.round_seconds))
    try:
        return paired_ratio(rounds[0], rounds[1])
    except ValueError as error:
        return str(error)


class Timings:
    """The rows of a latency document by case and batch size, and why others have none."""

    def __init__(self, latency: LatencyDocument | None) -> None:
        rows, absent = (latency.rows, latency.absent) if latency else ((), ())
        self._default = NEWEST_ONLY if latency else "nothing was timed"
        self._rows = {(row.case, row.batch): row for row in rows if row.form == PLAIN_FORM}
        self._absent = {(one.model, one.label, one.batch): one.reason for one in absent}

    def row(self, case: CaseEntry, batch: int) -> LatencyRow | None:
        """The timing of a case."""
        return self._rows.get((case["id"], batch))

    def why(self, case: CaseEntry, batch: int) -> str:
        """Why it has no timing."""
        label = str(case["id"]).removeprefix(f"{case['model']}-")
        return self._absent.get((case["model"], label, batch), self._default)
