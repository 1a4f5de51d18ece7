"""Whose error is the unit of a case's budget: native's own, in the case's class of precision."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.compute_modes import FLOAT32, Way, ways_of
from onnx_conformance.core.spec import Case
from onnx_conformance.core.tolerances import ROUNDED

# What a provider needs -> where native can be computed beside it.
NATIVE_DEVICES = {"nvidia": "cuda"}


@dataclass(frozen=True)
class Yardstick:
    """A class of precision, and the device on which native computes in it too.

    Args:
        precision: float32, or one of ROUNDED.
        device: beside the processor; empty for none.
    """

    precision: str = FLOAT32
    device: str = ""

    @property
    def ways(self) -> tuple[str, ...]:
        """On the processor: native and its replicas in this class."""
        return ways_of(self.precision)

    @property
    def there(self) -> str:
        """Native on the device; empty for none."""
        return str(Way(self.precision, device=self.device)) if self.device else ""


PLAIN = Yardstick()


def yardstick_of(case: Case) -> Yardstick:
    """The yardstick of a case: int8, which has no budget, is told in float32's."""
    precision = case.precision if case.precision in ROUNDED else FLOAT32
    return Yardstick(precision, NATIVE_DEVICES.get(PROVIDERS[case.provider].device, ""))
