"""The timings as one document, for ``--latency-json``, the table, the page and other tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from onnx_conformance.catalog.exporters import judged_packages
from onnx_conformance.core.documents import Environment
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError
from onnx_conformance.perf.latency.bench import TimedGroup
from onnx_conformance.perf.latency.certification import NotCertified
from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.timing_rows import LatencyRow
from onnx_conformance.perf.options import PerfRun

SCHEMA = 1
TIMED_NOTHING = "timed nothing: timings were asked for, but no row has one"

Groups = Mapping[tuple[str, int], TimedGroup]


@dataclass(frozen=True)
class TimingSettings:
    """How timings were taken.

    Args:
        threads, affinity: of each worker; processors by number, none where it is kept on none.
        seconds_a_group: that the rounds of a model and batch size may take.
    """

    threads: int
    affinity: list[int]
    graph_level: str
    seconds_a_group: float
    seed: int
    weights: str

    @classmethod
    def of(cls, run: PerfRun) -> TimingSettings:
        """The settings of a run."""
        settings, timing = run.settings, run.timing
        return cls(
            settings.threads,
            list(timing.cpus),
            settings.graph_level,
            timing.seconds,
            settings.seed,
            settings.weights,
        )


@dataclass(frozen=True)
class TimingEnvironment:
    """What timings were taken with and on; ``threads`` and ``affinity`` as of TimingSettings."""

    threads: int
    affinity: list[int]
    processor: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Absence:
    """Why a contender has no row; ``outcome``: ``red``, ``skipped`` or ``known failure``."""

    model: str
    batch: int
    label: str
    outcome: str
    reason: str

    @classmethod
    def of(cls, contender: Contender, batch: int, failure: ConformanceError) -> Absence:
        """The absence of a contender, from what was raised."""
        kinds = {CapabilityMissing: "skipped", NotCertified: "known failure"}
        kind = next((word for known, word in kinds.items() if isinstance(failure, known)), "red")
        reason = " ".join(str(failure).split())
        return cls(contender.model, batch, contender.label, kind, reason)


@dataclass(frozen=True)
class LatencyDocument:
    """What ``--latency-json`` holds: seconds and MiB throughout."""

    command: str
    started: str
    exit_status: int
    environment: Environment
    settings: TimingSettings
    rows: tuple[LatencyRow, ...]
    absent: tuple[Absence, ...]

    @property
    def red(self) -> int:
        """How many rows are missing because something is wrong."""
        return sum(entry.outcome == "red" for entry in self.absent)

    @property
    def sentence(self) -> str:
        """What happened, then under which circumstances."""
        if not self.rows:
            return f"{TIMED_NOTHING}{f'; {self.red} red' if self.red else ''}"
        found, settings = self.verdicts, self.settings
        versions = self.environment["versions"]
        judged = ", ".join(
            f"{name} {versions[name]}" for name in judged_packages() if name in versions
        )
        cpus = ", ".join(map(str, settings.affinity)) or "any"
        return (
            f"{len(self.rows)} rows timed, {self.red} red; {found['faster'] + found['slower']} of "
            f"{found.total()} speed-ups of ONNX Runtime over native eager shown "
            f"({found['faster']} faster, {found['slower']} slower); {settings.threads} thread(s) "
            f"on processor {cpus}, graph level {settings.graph_level}, {judged}"
        )

    @property
    def verdicts(self) -> Counter[str]:
        """``faster``, ``slower``, ``open``: ONNX Runtime's rows over native eager, counted."""
        return Counter(row.speedup.verdict for row in self.rows if row.case and row.speedup)

    @property
    def reasons(self) -> list[tuple[str, str, int]]:
        """(outcome, reason, rows) of what has no result, each reason once, red ones first."""
        counts = Counter((entry.outcome, entry.reason) for entry in self.absent)
        listed = [(outcome, reason, number) for (outcome, reason), number in counts.items()]
        return sorted(listed, key=lambda entry: entry[0] != "red")

    @property
    def beyond(self) -> list[str]:
        """What timed cases get wrong on inputs that no timed call has, each reason once."""
        found: dict[str, dict[str, None]] = {}
        for row in self.rows:
            for reason in row.facts.beyond:
                found.setdefault(reason, {})[row.label] = None
        return [
            f"timed, but fails on edge cases: {', '.join(labels)}: {reason}"
            for reason, labels in found.items()
        ]

    @property
    def around(self) -> TimingEnvironment:
        """What the timings were taken with, as pages of other tools show it."""
        return TimingEnvironment(
            self.settings.threads,
            self.settings.affinity,
            self.environment["processor"],
            self.environment["versions"],
        )

    def to_json(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "schema": SCHEMA,
            "command": self.command,
            "started": self.started,
            "exit_status": self.exit_status,
            "environment": self.environment,
            "settings": asdict(self.settings),
            "rows": [row.to_json() for row in self.rows],
            "absent": [asdict(entry) for entry in self.absent],
            "sentence": self.sentence,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LatencyDocument:
        """From a file of this schema."""
        return cls(
            data["command"],
            data["started"],
            data["exit_status"],
            cast("Environment", data["environment"]),
            TimingSettings(**data["settings"]),
            tuple(map(LatencyRow.from_json, data["rows"])),
            tuple(Absence(**entry) for entry in data["absent"]),
        )


def rows_of(groups: Groups) -> tuple[LatencyRow, ...]:
    """The rows of all groups, each with its speed-up over the fastest native form."""
    found: list[LatencyRow] = []
    for group in groups.values():
        for call in dict.fromkeys(contender.call for contender in group.rows):
            rows = [row for one, row in group.rows.items() if one.call == call]
            natives = [row for row in rows if row.contender.case is None]
            fastest = min(natives, key=lambda row: float(np.median(row.rounds)), default=None)
            found += [LatencyRow.of(row, fastest) for row in rows]
    return tuple(found)


def absences_of(groups: Groups) -> tuple[Absence, ...]:
    """Why contenders of the groups have no row."""
    return tuple(
        Absence.of(contender, batch, failure)
        for (_, batch), group in groups.items()
        for contender, failure in group.failures.items()
    )
