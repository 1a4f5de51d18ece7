"""Which places a fault strikes: spread over the graph, and dealt over a model's artifacts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
SPREAD = 5  # positions between a graph's two ends, taken in turn


def deal(
    sources: Sequence[Callable[[], list[T]]], places: int, start: int = 0
) -> list[tuple[int, T]]:
    """At most ``places`` sites as (source's index, site), by turns from each source.

    The positions run over the graph in :data:`SPREAD` steps, both ends included; no site is
    dealt twice. A source is asked for its sites only when its turn comes; one that has none, or
    none left, misses it.

    Args:
        start: the turn to begin with; with another, one place is another one.
    """
    left: dict[int, dict[int, T]] = {}  # of each source that was asked, by place in its graph
    sizes: dict[int, int] = {}
    waiting = [(start + block) % len(sources) for block in range(len(sources))]
    dealt: list[tuple[int, T]] = []
    while waiting and len(dealt) < places:
        index = waiting.pop(0)
        if index not in left:
            left[index] = dict(enumerate(sources[index]()))
            sizes[index] = len(left[index])
        if not left[index]:
            continue
        wanted = (start + len(dealt)) % SPREAD / (SPREAD - 1) * (sizes[index] - 1)
        nearest = min(left[index], key=lambda place: abs(place - wanted))
        dealt.append((index, left[index].pop(nearest)))
        waiting.append(index)
    return dealt
