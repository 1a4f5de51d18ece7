"""ONNX Runtime, slower by a known share: every call is stretched by busy waiting."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from onnx_conformance.workers.onnxruntime.backend import OnnxRuntimeBackend
from onnx_conformance.workers.stopwatch import TimedCall

SLOWED = "slowed-"


class Slowed(OnnxRuntimeBackend):
    """Knows one more form: a call of ``slowed-1.10`` takes 1.10 times as long as a plain one."""

    def timed_call(self, form: str, inputs: dict[str, Any], **what: Any) -> TimedCall:
        if not form.startswith(SLOWED):
            return super().timed_call(form, inputs, **what)
        honest, factor = (
            super().timed_call("plain", inputs, **what),
            float(form.removeprefix(SLOWED)),
        )

        def call() -> Any:
            started = time.perf_counter()
            result = honest.call()
            ends = started + factor * (time.perf_counter() - started)
            while time.perf_counter() < ends:
                pass
            return result

        return replace(honest, call=call)
