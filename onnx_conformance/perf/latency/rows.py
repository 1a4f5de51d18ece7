"""A row: one contender at one batch size, its times in seconds and how they were taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.interleave import Interleaved, Seconds
from onnx_conformance.perf.latency.ratios import Ratio, paired_ratio, summary
from onnx_conformance.session.cache_keys import environment


@dataclass(frozen=True)
class Row:
    """A measured contender.

    Args:
        seconds: of every timed call.
        rounds: median seconds of each round, paired with the other contenders' by index.
        speedup: over native eager on the same device, paired by rounds; None for that itself.
        facts: plain data: memory in MiB, times in seconds, placement, threads and the like.
    """

    contender: Contender
    batch: int
    seconds: Seconds
    rounds: Seconds
    speedup: Ratio | None
    facts: dict[str, Any]

    @property
    def group(self) -> str:
        """The rows that belong side by side."""
        return f"{self.contender.model} batch {self.batch}"

    def extra_info(self) -> dict[str, Any]:
        """What pytest-benchmark keeps beside its own figures."""
        around = environment()
        return {
            **summary(self.seconds, self.batch),
            "batch": self.batch,
            "rounds": int(self.rounds.size),
            "speedup": None if self.speedup is None else self.speedup.as_dict(),
            **self.facts,
            "versions": around["versions"],
            "processor": around["processor"],
        }


def make_row(
    contender: Contender,
    batch: int,
    found: Interleaved,
    reference: str | None,
    facts: dict[str, Any],
) -> Row:
    """A row from what was interleaved.

    Args:
        reference: the label of what it is compared with, where that was timed.
    """
    label = contender.label
    own = found.rounds[label]
    compared = reference is not None and label != reference
    speedup = paired_ratio(found.rounds[reference], own) if reference and compared else None
    told = {
        "model": contender.model,
        "form": contender.form,
        "case": contender.case.id if contender.case else None,
    }
    return Row(contender, batch, found.calls[label], own, speedup, {**told, **facts})
