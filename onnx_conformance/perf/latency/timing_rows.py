"""Rows of timings: one contender at one batch size, as measured and as documents hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.interleave import Seconds
from onnx_conformance.perf.latency.ratios import Ratio, paired_ratio
from onnx_conformance.run.cache_keys import environment

BOX = (5, 25, 50, 75, 95)  # percentiles of the calls, in the order of ``box_seconds``
NodePlacement = Mapping[str, Mapping[str, int] | str]  # of native, a text for all nodes
CASE_FIELDS = ("artifact_bytes", "graph_level", "certificate", "beyond")


@dataclass(frozen=True)
class CallTimes:
    """Figures of the timed calls.

    Args:
        calls: how many they are.
        mean, stddev, min, max, p50, p95, p99: seconds of a call; no ``stddev`` of a single one.
        samples_per_second: at the median.
    """

    calls: int
    mean: float
    stddev: float | None
    min: float
    max: float
    p50: float
    p95: float
    p99: float
    samples_per_second: float

    @classmethod
    def of(cls, seconds: Seconds, batch: int) -> CallTimes:
        """The figures of ``seconds``, one value a call of ``batch`` samples."""
        p50, p95, p99 = map(float, np.percentile(seconds, [50, 95, 99]))
        return cls(
            calls=int(seconds.size),
            mean=float(seconds.mean()),
            stddev=float(seconds.std(ddof=1)) if seconds.size > 1 else None,
            min=float(seconds.min()),
            max=float(seconds.max()),
            p50=p50,
            p95=p95,
            p99=p99,
            samples_per_second=batch / p50,
        )


@dataclass(frozen=True)
class CallFacts:
    """How a contender was opened, judged and warmed.

    Args:
        score: the error of the timed call's answer, in float32 noise floors.
        compared: elements of that answer.
        load_seconds, first_seconds: to open it, and for its first call.
        memory_before_mib, memory_after_mib, memory_peak_mib: of its whole process, before it was
            opened, after its first call, and at most.
        gpu_mib: of the GPU's memory; None where none is used.
        placement: provider -> operator -> nodes.
        threads, affinity: of its process; processors by number.
        warmup_calls, settled: before it was timed, and whether its times had settled by then.
        artifact_bytes, graph_level, certificate: of a case.
        beyond: what the case gets wrong on inputs that no timed call has.
    """

    score: float
    compared: int
    load_seconds: float
    first_seconds: float
    memory_before_mib: float
    memory_after_mib: float
    placement: NodePlacement
    threads: int
    affinity: list[int] | None
    artifact_bytes: int | None = None
    graph_level: str | None = None
    certificate: str | None = None
    beyond: tuple[str, ...] | list[str] = ()
    warmup_calls: int = 0
    settled: bool = False
    memory_peak_mib: float = 0.0
    gpu_mib: float | None = None

    def to_json(self, *, of_a_case: bool) -> dict[str, Any]:
        """As a row has it."""
        return {k: v for k, v in asdict(self).items() if of_a_case or k not in CASE_FIELDS}


def group_of(model: str, batch: int, call: str) -> str:
    """The name of rows that belong side by side; ``call`` as of a contender."""
    return f"{model} batch {batch}" + (f", {call.replace('_', ' ')}" if call else "")


@dataclass(frozen=True)
class MeasuredRow:
    """A contender as it was measured.

    Args:
        batch: samples a call.
        seconds: of every timed call.
        rounds: median seconds of each round, paired with the other contenders' by index.
        speedup: over native eager on the same device, paired by rounds; None for that itself.
    """

    contender: Contender
    batch: int
    seconds: Seconds
    rounds: Seconds
    speedup: Ratio | None
    facts: CallFacts

    @property
    def group(self) -> str:
        """The rows that belong side by side."""
        return group_of(self.contender.model, self.batch, self.contender.call)

    def extra_info(self) -> dict[str, Any]:
        """What pytest-benchmark keeps beside its own figures."""
        around = environment()
        row = LatencyRow.of(self).to_json()
        own = {k: v for k, v in row.items() if k not in DOCUMENT_FIELDS}
        return {**own, "versions": around["versions"], "processor": around["processor"]}


DOCUMENT_FIELDS = (
    "label",
    "group",
    "fastest_native",
    "over_fastest",
    "box_seconds",
    "round_seconds",
)


@dataclass(frozen=True)
class LatencyRow:
    """A row of ``--latency-json``.

    Args:
        label: the contender's name within the model.
        form: how it is called.
        case: its case's id; None for native.
        call: which call of a model with memory; empty for plain inputs.
        rounds: how many.
        speedup: over native eager on the same device.
        fastest_native, over_fastest: the form of the fastest native one, and the speed-up over it.
        box_seconds: the percentiles :data:`BOX` of the calls.
        round_seconds: the median of each round; rows of a group pair by index.
    """

    model: str
    batch: int
    label: str
    form: str
    case: str | None
    call: str
    times: CallTimes
    facts: CallFacts
    rounds: int
    speedup: Ratio | None
    fastest_native: str | None
    over_fastest: Ratio | None
    box_seconds: list[float]
    round_seconds: list[float]

    @classmethod
    def of(cls, row: MeasuredRow, fastest: MeasuredRow | None = None) -> LatencyRow:
        """A measured row; of ONNX Runtime's also beside the ``fastest`` native one."""
        contender, over = row.contender, None
        if fastest is not None and contender.case is not None:
            same = fastest.contender == contender.compared_with
            over = row.speedup if same else paired_ratio(fastest.rounds, row.rounds)
        return cls(
            contender.model,
            row.batch,
            contender.label,
            contender.form,
            contender.case.id if contender.case else None,
            contender.call,
            CallTimes.of(row.seconds, row.batch),
            row.facts,
            int(row.rounds.size),
            row.speedup,
            fastest.contender.form if fastest and over else None,
            over,
            np.percentile(row.seconds, BOX).tolist(),
            row.rounds.tolist(),
        )

    @property
    def group(self) -> str:
        """The rows that belong side by side."""
        return group_of(self.model, self.batch, self.call)

    def to_json(self) -> dict[str, Any]:
        """As the document has it."""
        flat = {each.name: getattr(self, each.name) for each in fields(self)}
        times, facts = flat.pop("times"), flat.pop("facts")
        ratios = {
            name: flat[name].to_json() if flat[name] else None
            for name in ("speedup", "over_fastest")
        }
        of_a_case = self.case is not None
        return {
            **flat,
            "group": self.group,
            **asdict(times),
            **facts.to_json(of_a_case=of_a_case),
            **ratios,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LatencyRow:
        """From a document."""
        own = {name: data[name] for name in ("model", "batch", "label", "form", "case", "rounds")}
        return cls(
            **own,
            call=data.get("call", ""),
            times=CallTimes(**_fields_of(CallTimes, data)),
            facts=CallFacts(**_fields_of(CallFacts, data)),
            speedup=Ratio.from_json(data["speedup"]),
            fastest_native=data["fastest_native"],
            over_fastest=Ratio.from_json(data["over_fastest"]),
            box_seconds=data["box_seconds"],
            round_seconds=data["round_seconds"],
        )


def _fields_of(record: type[CallTimes | CallFacts], data: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: data[each.name] for each in fields(record) if each.name in data}
