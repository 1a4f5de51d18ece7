"""A runtime worker whose provider fails in the middle of a run, as one that loses its device."""

from __future__ import annotations

from typing import Any

from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from onnx_conformance.workers.onnxruntime.backend import OnnxRuntimeBackend


class Lost:
    """A session's inside, of which only the run fails."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def run(self, *arguments: Any) -> None:
        raise EPFail("the device was lost")


class FallingBackend(OnnxRuntimeBackend):
    def fall(self, session: Any, input_sets: list[Any], fallback: bool) -> list[Any]:
        """Run after the device was lost; ``fallback`` allows what the suite forbids."""
        self.open(session)
        opened, _ = next(iter(self._sessions.values()))
        opened._sess = Lost(opened._sess)
        if fallback:
            opened.enable_fallback()
        return self.run(session, input_sets)
