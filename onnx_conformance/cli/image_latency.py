"""Seconds that each worker needs for a photograph: a short, interleaved measurement."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.cli.context import ToolContext, reason_of
from onnx_conformance.cli.predictions import inputs_of
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.extras import optional
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.perf.latency.contenders import (
    Contender,
    native_contenders,
    runtime_contenders,
)
from onnx_conformance.perf.latency.interleave import (
    Block,
    Interleaved,
    Seconds,
    interleave,
)
from onnx_conformance.perf.latency.ratios import CONFIDENCE, Ratio, paired_ratio
from onnx_conformance.perf.latency.timed_call import CallSpec, noise_floor_of_timed
from onnx_conformance.perf.latency.timed_sessions import TimedSessions

WARM_SECONDS = 0.5
ROUND_SECONDS = 2.0  # of all rounds together
LEAST_ROUNDS, MOST_ROUNDS = 9, 40


@dataclass(frozen=True)
class Latency:
    """The time of one call.

    Args:
        median, low, high: seconds, with the 95 % interval of the median over rounds.
        behind: its time over the fastest one's, paired by rounds; None for the fastest.
    """

    who: str
    median: float
    low: float
    high: float
    behind: Ratio | None


@dataclass(frozen=True)
class PhotographTimings:
    """Latencies, the fastest first, and why others have none."""

    latencies: tuple[Latency, ...]
    absent: tuple[str, ...]

    @property
    def winner(self) -> str:
        """One sentence on who is fastest."""
        if not self.latencies:
            return "nothing was timed"
        first, *others = self.latencies
        level = [each.who for each in others if each.behind is not None and each.behind.undecided]
        if level:
            return f"fastest: {first.who}; not shown to differ: {', '.join(level)}"
        if not others:
            return f"only {first.who} was timed"
        return f"fastest: {first.who}, {others[0].behind} times as fast as {others[0].who}"


class PhotographBench:
    """Where workers are timed; they start in the background, while others still look.

    A worker's answer in the very call that is timed must be within the error budget; otherwise it
    has no time.
    """

    def __init__(self, context: ToolContext) -> None:
        self._context = context
        self._timed_sessions = TimedSessions(context.run, context.workers)
        self._pool = ThreadPoolExecutor(max_workers=1)

    def start(self, model: ModelSpec, cases: Sequence[Case]) -> None:
        """Start the workers of a model whose artifacts are at hand."""
        for contender in _contenders(model, cases):
            self._pool.submit(
                self._timed_sessions.of, model, contender
            )  # what fails here fails again below

    def time(
        self, entries: Sequence[tuple[ModelSpec, Sequence[Case]]], image: Path
    ) -> PhotographTimings:
        """Time native and each case on a photograph, side by side."""
        self._pool.submit(lambda: None).result()
        absent: list[str] = []
        blocks: dict[str, Block] = {}
        for model, cases in entries:
            for contender in _contenders(model, cases):
                who = _who(model, contender, len(entries) > 1)
                try:
                    blocks[who] = self._warm(model, contender, who, image)
                except ConformanceError as error:
                    absent.append(f"{who}: {reason_of(error)}")
        self._context.workers.quiesce()
        found = interleave(
            list(blocks.values()),
            seconds=ROUND_SECONDS,
            least=LEAST_ROUNDS,
            most=MOST_ROUNDS,
            seed=self._context.run.settings.seed,
        )
        return PhotographTimings(ranked(found), tuple(absent))

    def close(self) -> None:
        """End every worker."""
        self._pool.shutdown(cancel_futures=True)
        self._timed_sessions.close()

    def _warm(self, model: ModelSpec, contender: Contender, who: str, image: Path) -> Block:
        """Open a contender, judge what it answers, and warm it.

        Raises:
            ConformanceError: why it has no time.
        """
        timed_session, case = self._timed_sessions.of(model, contender), contender.judged_as
        inputs, reference_of = inputs_of(model, image), self._context.workers.reference
        reference = reference_of(model, inputs, noise_floor_of_timed(case))
        call = CallSpec(model, who, who, contender.form, inputs, reference, case)
        timed_session.rehearse(call, self._context.run.tolerances)
        return timed_session.warm(who, WARM_SECONDS).block


def ranked(found: Interleaved) -> tuple[Latency, ...]:
    """The fastest first, by the median over rounds."""
    medians = {who: _median(seconds) for who, seconds in found.rounds.items()}
    order = sorted(medians, key=lambda who: medians[who][0])
    return tuple(
        Latency(who, *medians[who], _behind(found, who, order[0]) if place else None)
        for place, who in enumerate(order)
    )


def _behind(found: Interleaved, who: str, first: str) -> Ratio:
    return paired_ratio(found.rounds[who], found.rounds[first])


def _median(seconds: Seconds) -> tuple[float, float, float]:
    """The median with its distribution-free interval (:func:`scipy.stats.quantile_test`)."""
    with optional("timing"):
        from scipy import stats  # half a second to import

    test = stats.quantile_test(seconds, q=0.0, p=0.5)
    interval = test.confidence_interval(confidence_level=CONFIDENCE)
    middle = float(sorted(seconds)[len(seconds) // 2])
    return middle, float(interval.low), float(interval.high)


def _contenders(model: ModelSpec, cases: Sequence[Case]) -> list[Contender]:
    native = native_contenders(model.name, model.framework, (), cases)
    return [*native, *(each for each in runtime_contenders(list(cases)) if each.form == "plain")]


def _who(model: ModelSpec, contender: Contender, several: bool) -> str:
    name = f"{FRAMEWORKS[model.framework].title}, {contender.form}"
    if contender.case is not None:
        name = f"ONNX Runtime, {contender.case.provider}"
    return f"{name} ({model.name})" if several else name
