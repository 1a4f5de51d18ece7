"""The noise floor of a case: which class of precision and device its error is measured in."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_conformance.catalog.devices import DEVICES
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.case import Case
from onnx_conformance.core.compute_modes import FLOAT32, ComputeMode, compute_modes_of
from onnx_conformance.core.tolerances import ROUNDED


@dataclass(frozen=True)
class NoiseFloor:
    """A class of precision, and the device on which native computes in it too.

    Args:
        precision: float32, or one of ROUNDED.
        device: beside the processor; empty for none.
    """

    precision: str = FLOAT32
    device: str = ""

    @property
    def compute_modes(self) -> tuple[str, ...]:
        """On the processor: native and its replicas in this class."""
        return compute_modes_of(self.precision)

    @property
    def device_mode(self) -> str:
        """Native on the device; empty for none."""
        return str(ComputeMode(self.precision, device=self.device)) if self.device else ""


FLOAT32_NOISE_FLOOR = NoiseFloor()


def noise_floor_of(case: Case) -> NoiseFloor:
    """The noise floor of a case: int8, which has no budget, is measured in float32's."""
    precision = case.precision if case.precision in ROUNDED else FLOAT32
    device = PROVIDERS[case.provider].device
    return NoiseFloor(precision, DEVICES[device].native if device else "")
