"""Which variant to ship: speed and size beside the verdict, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from onnx_conformance.core.documents import CaseEntry, ResultsDocument
from onnx_conformance.core.tolerances import ROUNDED
from onnx_conformance.perf.latency.latency_document import TimingEnvironment
from onnx_conformance.perf.latency.ratios import Ratio, paired_ratio
from onnx_conformance.perf.latency.timing_rows import LatencyRow
from onnx_conformance.report.columns import INCOMPLETE, PROVED, kind_of, score_of, why

PLAIN_EXPORT = "fp32"  # the exported file itself
LATENCY_ONLY = "latency only"
PASSED = "passed"


@dataclass(frozen=True)
class VariantTiming:
    """A variant at one batch size.

    Args:
        over_native: native eager's time over its own, paired by rounds.
        over_plain: the exported file's time over its own; None for that itself, or untimed.
        error: the worst error of the timed call's answer, in float32 noise floors.
    """

    batch: int
    seconds: float
    over_native: Ratio
    over_plain: Ratio | None
    error: float


@dataclass(frozen=True)
class JudgedVariant:
    """A variant of one exported file.

    Args:
        verdict: ``passed``, ``latency only`` (int8 whose accuracy nothing judges), ``incomplete``,
            or what the matrix says of one that is not passed.
        reason: why it is not simply passed; empty if it is.
        error: as the matrix shows it.
        decides: of int8, what it loses in decisions, as a bound; empty where no data are known.
        bytes: of the file and its data.
        load_seconds, memory_mib: opening its session, and the most memory of its process; None
            where it was not timed.
    """

    name: str
    verdict: str
    reason: str
    error: str
    decides: str
    bytes: int | None
    load_seconds: float | None
    memory_mib: float | None
    timed: tuple[VariantTiming, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is known against it."""
        return self.verdict in (PASSED, LATENCY_ONLY)

    def at(self, batch: int) -> VariantTiming | None:
        """Its timing at a batch size."""
        return next((one for one in self.timed if one.batch == batch), None)


@dataclass(frozen=True)
class VariantsDocument:
    """The variants of a file, as terminal, page and ``variants.json`` have them.

    Args:
        keep: the command that writes one of the files.
        batches: the batch sizes that were timed.
    """

    title: str
    keep: str
    around: TimingEnvironment
    batches: tuple[int, ...]
    variants: tuple[JudgedVariant, ...]

    def to_json(self) -> dict[str, Any]:
        """As the file has it."""
        fields = asdict(self)
        return {**fields.pop("around"), **fields}


def join(results: ResultsDocument, rows: Iterable[LatencyRow]) -> list[JudgedVariant]:
    """The variants of one export, from what certified them and the rows of their timings."""
    timed: dict[str, list[LatencyRow]] = {}
    for row in rows:
        timed.setdefault(row.case or "", []).append(row)
    cases = [case for case in results["cases"] if not case["option"]]
    plain = next((case["id"] for case in cases if "~" not in case["exporter"]), "")
    plain_rows = {row.batch: row for row in timed.get(plain, ())}
    return [_variant(case, timed.get(case["id"], []), plain_rows) for case in cases]


def _variant(
    case: CaseEntry, rows: Sequence[LatencyRow], plain: Mapping[int, LatencyRow]
) -> JudgedVariant:
    verdict, reason = _verdict(case)
    return JudgedVariant(
        name=case["exporter"].partition("~")[2] or PLAIN_EXPORT,
        verdict=verdict,
        reason=reason,
        error=_error(case),
        decides=_decides(case),
        bytes=case["artifact_bytes"],
        load_seconds=min((row.facts.load_seconds for row in rows), default=None),
        memory_mib=max((row.facts.memory_peak_mib for row in rows), default=None),
        timed=tuple(_timed(row, plain.get(row.batch), row.speedup) for row in rows if row.speedup),
    )


def _error(case: CaseEntry) -> str:
    """The case's score, with the class of precision of its noise floor unless that is float32."""
    score, precision = score_of(case), case["precision"]
    return f"{score} ({precision})" if score and precision in ROUNDED else score


def _decides(case: CaseEntry) -> str:
    """The bound of the accuracy that is lost, or of the agreement where no labels are known."""
    statistics = (row.get("statistics") for row in case["checks"] if row["name"] == "task")
    found: dict[str, Any] = next((figures for figures in statistics if figures), {})
    if "accuracy_loss" in found:
        lost = found["accuracy_loss"]
        return f"loses at most {lost['high']:.1%} of {lost['samples']}"
    if "agreement" in found:
        same = found["agreement"]
        return f"agrees on {same['low']:.1%} of {same['samples']}, or more"
    return ""


def _timed(row: LatencyRow, plain: LatencyRow | None, speedup: Ratio) -> VariantTiming:
    over_plain = None
    if plain is not None and plain.case != row.case:
        over_plain = paired_ratio(np.array(plain.round_seconds), np.array(row.round_seconds))
    return VariantTiming(row.batch, row.times.p50, speedup, over_plain, row.facts.score)


def _verdict(case: CaseEntry) -> tuple[str, str]:
    """The verdict in the table's words, and why it is not simply passed."""
    kind = kind_of(case)
    if kind != INCOMPLETE:
        return (PASSED, "") if kind == PROVED else (kind, why(case))
    tasks = [row["reason"] for row in case["checks"] if row["name"] == "task"]
    reason = next((reason for reason in tasks if reason.startswith(LATENCY_ONLY)), "")
    return (LATENCY_ONLY, reason.removeprefix(f"{LATENCY_ONLY}: ")) if reason else (kind, why(case))


def front(variants: Iterable[JudgedVariant], batch: int) -> list[JudgedVariant]:
    """The sound variants that no other beats in both speed and error, the fastest first."""
    timed = [(one, at) for one in variants if one.sound and (at := one.at(batch)) is not None]
    timed.sort(key=lambda entry: -entry[1].over_native.value)
    best, least = [], np.inf
    for one, at in timed:
        if at.error < least:
            best.append(one)
            least = at.error
    return best


def slower(timed: VariantTiming | None) -> bool:
    """Whether it is shown to be slower than the exported file that it was made of."""
    return timed is not None and timed.over_plain is not None and timed.over_plain.high < 1.0


def recommendation(variants: Sequence[JudgedVariant], batch: int) -> str:
    """One sentence: the fastest variant that may be shipped at a batch size."""
    best = front(variants, batch)
    proved = front([one for one in variants if one.verdict == PASSED], batch)
    if not best:
        return f"batch {batch}: no variant that passes was timed"
    words = f"batch {batch}: nothing that was timed passed every check"
    if proved:
        words = f"batch {batch}: {_shipped(proved, variants, batch)}"
    if best[0].verdict == LATENCY_ONLY:
        words += (
            f"; {best[0].name} is faster, {_speed(best[0], batch)}, but its accuracy is not judged"
        )
    return words


def _shipped(proved: Sequence[JudgedVariant], variants: Sequence[JudgedVariant], batch: int) -> str:
    """The fastest, unless its lead over the plain export, which is simpler, is not shown."""
    fastest = proved[0]
    at = fastest.at(batch)
    plain = next(
        (one for one in variants if one.name == PLAIN_EXPORT and one.verdict == PASSED), None
    )
    led = at is None or at.over_plain is None or at.over_plain.low > 1.0
    if not led and plain is not None and plain.at(batch) is not None:
        return (
            f"{PLAIN_EXPORT}, {_speed(plain, batch)}; no variant that passed is shown to be faster"
        )
    words = f"{fastest.name} is the fastest that passed every check, {_speed(fastest, batch)}"
    others = (one for one in variants if one is not fastest and one is not plain)
    level = [one.name for one in others if _level(one, fastest, batch)]
    return words + (f"; not shown to be slower: {', '.join(level)}" if level else "")


def _level(one: JudgedVariant, fastest: JudgedVariant, batch: int) -> bool:
    """Whether the intervals of two variants that passed overlap."""
    its, best = one.at(batch), fastest.at(batch)
    return (
        one.verdict == PASSED
        and its is not None
        and best is not None
        and its.over_native.high >= best.over_native.low
    )


def _speed(one: JudgedVariant, batch: int) -> str:
    at = next(timed for timed in one.timed if timed.batch == batch)
    words = f"{at.over_native} times native eager"
    if at.over_plain is None:
        return words
    if at.over_plain.low <= 1.0 <= at.over_plain.high:
        return f"{words}, not shown to differ from {PLAIN_EXPORT} ({at.over_plain})"
    return f"{words}, {at.over_plain} times {PLAIN_EXPORT}"
