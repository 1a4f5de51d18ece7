"""ONNX Runtime whose process aborts, hangs or loses its device in a run; see falling_providers."""

import os
import time

from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from onnx_conformance.workers.onnxruntime import backend

PROBE = "probe.onnx"  # which only one of them does not survive


class Servant(backend.OrtServant):
    def run(self, session, feeds):
        way, probed = os.environ["FALLS_BY"], session["files"][0].endswith(PROBE)
        if way == "stillborn" or (way == "aborting" and not probed):
            os.abort()
        if way == "hanging" and not probed:
            time.sleep(600)
        answers = super().run(session, feeds)
        return answers if probed else [_lost() for _ in answers]


def _lost():
    return {"error": f"{EPFail.__name__}: the device was lost"}
