"""ONNX Runtime under a clock that gives every call the same time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from onnx_conformance.workers.onnxruntime.backend import OnnxRuntimeBackend
from onnx_conformance.workers.stopwatch import TimedCall

FROZEN = "frozen-"


class Frozen(OnnxRuntimeBackend):
    """Knows one more form: every call of ``frozen-0.001`` takes a millisecond, it says."""

    def timed_call(self, form: str, inputs: dict[str, Any], **what: Any) -> TimedCall:
        honest, seconds = (
            super().timed_call("plain", inputs, **what),
            float(form.removeprefix(FROZEN)),
        )
        return replace(honest, seconds=lambda: seconds)
