"""The answer to "may we bump?": a sentence a place, the verdicts that differ, the exit status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.perf.latency.latency_document import LatencyDocument, TimingEnvironment
from onnx_conformance.perf.latency.ratios import Ratio
from onnx_conformance.perf.version_comparison import ABSENT, Comparison, VersionLine
from onnx_conformance.report.columns import FAILED, INCOMPLETE, KNOWN, PROVED, SKIPPED
from onnx_conformance.report.document import PROVED_NOTHING

OK, RED = 0, 1
MOST_NAMED = 3  # cases in a sentence; below the table they all are
WORDS_OF_KINDS = {
    PROVED: "passed",
    INCOMPLETE: "incomplete",
    FAILED: "red",
    KNOWN: "known to fail",
    SKIPPED: "skipped",
    ABSENT: "not selected",
}
Speed = tuple[VersionLine, Ratio]
BUILDS = ("onnxruntime-gpu", "onnxruntime")  # which of them is here
SCHEMA = 1


@dataclass(frozen=True)
class VersionsDocument:
    """The answer to "may we bump?", as terminal, page and ``versions.json`` have it.

    Args:
        meaning: what the second line of a table's cell says.
        answers: a sentence for this environment, then one for each other place.
        unlike, alike: verdicts that differ between places, and others that are no pass.
        untimed: why lines have no speed.
        unanswered: the places of which a question stays open.
        problems: of the run that certified.
        around: what timings were taken with and on; None where nothing was timed.
    """

    exit_status: int
    headline: str
    meaning: str
    answers: list[str]
    unlike: list[str]
    alike: list[str]
    untimed: list[str]
    unanswered: list[str]
    problems: list[str]
    around: TimingEnvironment | None
    comparison: Comparison
    schema: int = SCHEMA

    @property
    def open(self) -> str:
        """Why places are unanswered, in words for all of them."""
        if self.comparison.recorded:
            return f"nothing that passed {self.comparison.base} was judged there"
        return "nothing was judged there, or nothing was timed"


def make_document(
    found: Comparison, results: ResultsDocument, timed: LatencyDocument | None, status: int
) -> VersionsDocument:
    """The document of a comparison, ``results`` and ``timed`` being what it was joined from."""
    unlike, alike = verdicts(found)
    packages = results["environment"]["versions"]
    installed = [f"{name} {packages[name]}" for name in BUILDS if name in packages]
    build = next(iter(installed), "another build of ONNX Runtime")
    return VersionsDocument(
        exit_status=status,
        headline=headline(found, status),
        meaning=f"verdict and worst score ≤ budget{_pace(found, build)}",
        answers=answers(found),
        unlike=unlike,
        alike=alike,
        untimed=untimed(found),
        unanswered=unanswered(found),
        problems=results["run"]["problems"],
        around=timed.around if timed else None,
        comparison=found,
    )


def _pace(found: Comparison, build: str) -> str:
    """What the speeds in a cell mean; empty where nothing is timed."""
    if found.recorded:
        return ""
    return (
        f"; below, how many times as fast as {found.here} here ({build}), paired by rounds, with "
        "the 95 % interval; above 1 is faster there; =: the interval contains 1, so no difference "
        "is shown"
    )


def answers(found: Comparison) -> list[str]:
    """A sentence for this environment, then one for each other place."""
    return [_here(found), *(place_sentence(found, place) for place in found.others)]


def _here(found: Comparison) -> str:
    counts = Counter(cell.kind for _, cell in found.cells(found.here))
    others = "".join(
        f", {n} {WORDS_OF_KINDS[kind]}" for kind, n in counts.items() if kind != PROVED
    )
    place = _machine(found, found.here) if found.recorded else f"{found.here} (here)"
    return f"{place}: {counts[PROVED]} of {counts.total()} cases passed{others}"


def _machine(found: Comparison, place: str) -> str:
    """A place, and of recorded answers what gave them."""
    what = found.probes.get(place, "").removeprefix(f"{place}: ") if found.recorded else ""
    return f"{place} ({what})" if what else place


def place_sentence(found: Comparison, place: str) -> str:
    """How many cases pass every check there as here, and how fast they are beside those here."""
    if not found.judged(place):
        reason = absence(found, place)
        return f"{place}: nothing was judged there: {reason}"
    here = [line for line, cell in found.cells(found.here) if cell.kind == PROVED]
    both = sum(line.cells[place].kind == PROVED for line in here)
    proved = (
        f"{both} of {len(here)} cases passed as {found.base}"
        if here
        else f"no case passed every check {found.base}"
    )
    speeds = [f"; {_speeds(found, place, batch)}" for batch in found.batches]
    return f"{_machine(found, place)}: {proved}{_unlike(found, place)}{''.join(speeds)}"


def _unlike(found: Comparison, place: str) -> str:
    """The verdicts that differ, the first few by name."""
    named = [
        f"{line.name} ({WORDS_OF_KINDS[line.cells[place].kind]})"
        for line in found.lines
        if differs(found, line, place)
    ]
    if not named:
        return ""
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    verb = "verdict differs" if len(named) == 1 else "verdicts differ"
    return f", {len(named)} {verb}: {', '.join(named[:MOST_NAMED])}{more}"


def absence(found: Comparison, place: str) -> str:
    """Why nothing was judged there."""
    reasons = (cell.reason for _, cell in found.cells(place) if cell.reason)
    return next(reasons, "no case was selected").removeprefix(f"{place}: ")


def compared(found: Comparison, place: str, batch: int) -> list[Speed]:
    """The lines that have a ratio there."""
    return [(line, cell.ratios[batch]) for line, cell in found.cells(place) if batch in cell.ratios]


def _speeds(found: Comparison, place: str, batch: int) -> str:
    speeds = compared(found, place, batch)
    if not speeds:
        found_there = dict.fromkeys(cell.untimed.get(batch) for _, cell in found.cells(place))
        reasons = ", ".join(reason for reason in found_there if reason)
        return f"at batch {batch} no speed was compared: {reasons}"
    shown = {word: _shown_to_be(speeds, word) for word in ("faster", "slower", "open")}
    parts = [
        f"faster on {len(shown['faster'])}{_extreme(shown['faster'], 'best', -1)}",
        f"slower on {len(shown['slower'])}{_extreme(shown['slower'], 'worst', 0)}",
        f"{len(shown['open'])} not shown to differ",
    ]
    left = len(found.lines) - len(speeds)
    parts += [f"{left} without a speed"] if left else []
    return f"at batch {batch} {', '.join(parts)}"


def _shown_to_be(speeds: Iterable[Speed], word: str) -> list[Speed]:
    return [(line, ratio) for line, ratio in speeds if ratio.verdict == word]


def _extreme(speeds: Sequence[Speed], word: str, place: int) -> str:
    if not speeds:
        return ""
    line, ratio = sorted(speeds, key=lambda speed: speed[1].value)[place]
    return f" ({word} {ratio} {line.name})"


def differs(found: Comparison, line: VersionLine, place: str) -> bool:
    """Whether a place that judged anything has another verdict than this environment."""
    return found.judged(place) and line.cells[place].kind != line.cells[found.here].kind


def verdicts(found: Comparison) -> tuple[list[str], list[str]]:
    """Lines whose verdict differs between places, then others that did not pass, with reasons.

    A place that judged nothing is in neither: its own sentence says so.
    """
    places = [found.here, *filter(found.judged, found.others)]
    unlike: dict[str, list[str]] = {}
    alike: dict[str, list[str]] = {}
    for line in found.lines:
        verdict = _verdict(line, places)
        if any(differs(found, line, place) for place in places):
            unlike.setdefault(verdict, []).append(line.name)
        elif line.cells[found.here].kind != PROVED:
            alike.setdefault(verdict, []).append(line.name)
    return _named(unlike), _named(alike)


def _named(groups: Mapping[str, list[str]]) -> list[str]:
    return [f"{', '.join(names)}: {verdict}" for verdict, names in groups.items()]


def _verdict(line: VersionLine, places: Sequence[str]) -> str:
    """``passed on cpu; red on openvino (…)``."""
    groups: dict[tuple[str, str], list[str]] = {}
    for place in places:
        cell = line.cells[place]
        groups.setdefault((cell.kind, cell.reason), []).append(place)
    return "; ".join(
        f"{WORDS_OF_KINDS[kind]} on {', '.join(names)}" + (f" ({reason})" if reason else "")
        for (kind, reason), names in groups.items()
    )


def untimed(found: Comparison) -> list[str]:
    """Why lines have no speed, each reason once."""
    counts = Counter(
        (place, reason, batch)
        for place in filter(found.judged, found.others)
        for _, cell in found.cells(place)
        for batch, reason in cell.untimed.items()
    )
    batches: dict[tuple[str, str, int], list[int]] = {}
    for (place, reason, batch), number in counts.items():
        batches.setdefault((place, reason, number), []).append(batch)
    places: dict[tuple[str, int, str], list[str]] = {}
    for (place, reason, number), sizes in batches.items():
        places.setdefault((reason, number, ", ".join(map(str, sizes))), []).append(place)
    return [
        f"without a speed on {', '.join(names)}, batch {sizes}: {number}, {reason}"
        for (reason, number, sizes), names in places.items()
    ]


def headline(found: Comparison, status: int) -> str:
    """The answer in one line, with what other places lose."""
    if status == OK and (lost := worse(found)):
        return f"Nothing failed, but {'; '.join(lost)}"
    if status == OK and found.recorded:
        return f"Nothing failed, and all that passed {found.base} passes"
    if status == OK:
        return "Nothing failed, and nothing is shown to be slower"
    return "✗ Something failed" if status == RED else "Not answered"


def worse(found: Comparison) -> list[str]:
    """What is lost by going to each other place, short of red: passes and speed, counted."""
    words = []
    for place in found.others:
        here = [line for line, cell in found.cells(found.here) if cell.kind == PROVED]
        unproved = sum(line.cells[place].kind != PROVED for line in here)
        slower = sum(len(_shown_to_be(compared(found, place, b), "slower")) for b in found.batches)
        counts = {"not passing": unproved, "slower": slower}
        lost = " and ".join(f"{word} on {number}" for word, number in counts.items() if number)
        words += [f"{place} is {lost}"] if lost else []
    return words


def worth_timing(found: Comparison, place: str) -> bool:
    """Whether any case passed here and there, so that there may be something to compare.

    What is known to fail there counts: on edge cases it forbids no timing.
    """
    return any(
        line.cells[found.here].passed and (cell.passed or cell.kind == KNOWN)
        for line, cell in found.cells(place)
    )


def unanswered(found: Comparison) -> list[str]:
    """The places without an answer: nothing failed there, and not all was judged and timed."""
    return [
        place
        for place in found.others
        if not (_any_failed(found, place) or _all_passed(found, place))
    ]


def _any_failed(found: Comparison, place: str) -> bool:
    return any(cell.kind == FAILED for _, cell in found.cells(place))


def _all_passed(found: Comparison, place: str) -> bool:
    timed = all(compared(found, place, batch) for batch in found.batches)
    return worth_timing(found, place) and timed


def status_of(found: Comparison, *, red: bool) -> int:
    """1 where anything is red, 5 where a place that was asked about is not answered for.

    Args:
        red: whether one of the runs ended so; not all that is red is a case's.
    """
    if red or any(_any_failed(found, place) for place in found.places):
        return RED
    return PROVED_NOTHING if unanswered(found) or not found.others else OK
