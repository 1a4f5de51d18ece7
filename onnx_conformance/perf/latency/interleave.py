"""Interleaving: every contender has one block a round, in an order drawn anew.

What the machine does meanwhile then hits all contenders alike, and the rounds pair their times.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.perf.latency.suspended_worker import SuspendedWorker

Seconds = NDArray[np.float64]
BLOCK_SECONDS = 0.02  # seconds: shorter calls are repeated, so that a block outweighs the wake-up
MOST_CALLS = 200
WARM_BELOW = 0.03  # seconds: shorter calls start a block with one that is not kept


@dataclass(frozen=True)
class Block:
    """A contender's block: ``calls`` timed calls after ``discard`` that are not kept.

    The first call after another worker's block finds its caches cold.
    """

    worker: SuspendedWorker = field(repr=False)
    label: str
    discard: int
    calls: int

    def seconds(self) -> Seconds:
        """Seconds of each timed call."""
        return self.worker.time(self.label, self.discard, self.calls)


def plan_block(worker: SuspendedWorker, label: str, typical: float) -> Block:
    """A block of about :data:`BLOCK_SECONDS`, or one call.

    Args:
        typical: seconds of a warm call.
    """
    calls = int(np.clip(BLOCK_SECONDS / max(typical, 1e-9), 1, MOST_CALLS))
    return Block(worker, label, discard=1 if typical < WARM_BELOW else 0, calls=calls)


@dataclass
class Interleaved:
    """Times of contenders in their blocks.

    Args:
        calls: label -> seconds of every call.
        rounds: label -> median seconds of each round; index by index, rounds pair the contenders.
    """

    calls: dict[str, Seconds]
    rounds: dict[str, Seconds]


def interleave(
    blocks: Sequence[Block], *, seconds: float, least: int, most: int, seed: int
) -> Interleaved:
    """Rounds until ``seconds`` are spent, but at least ``least`` and at most ``most``."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[Seconds]] = {block.label: [] for block in blocks}
    ends, done = time.monotonic() + seconds, 0
    while done < least or (done < most and time.monotonic() < ends):
        for place in rng.permutation(len(blocks)):
            block = blocks[place]
            found[block.label].append(block.seconds())
        done += 1
    return Interleaved(
        {label: np.concatenate(parts) for label, parts in found.items()},
        {label: np.array([np.median(part) for part in parts]) for label, parts in found.items()},
    )
