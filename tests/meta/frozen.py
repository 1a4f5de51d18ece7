"""ONNX Runtime under a clock that gives every call the same time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from onnx_conformance.workers.onnxruntime.backend import OrtServant
from onnx_conformance.workers.timing import Take

FROZEN = "frozen-"


class Frozen(OrtServant):
    """Knows one more form: every call of ``frozen-0.001`` takes a millisecond, it says."""

    def take(self, form: str, feed: dict[str, Any], **what: Any) -> Take:
        honest, seconds = super().take("plain", feed, **what), float(form.removeprefix(FROZEN))
        return replace(honest, seconds=lambda: seconds)
