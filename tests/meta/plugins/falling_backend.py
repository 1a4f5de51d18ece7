"""ONNX Runtime whose process aborts, hangs or loses its device in a run; see falling_providers."""

import os
import time

from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from onnx_conformance.workers.onnxruntime import backend

PROBE = "probe.onnx"  # which only one of them does not survive


class Backend(backend.OnnxRuntimeBackend):
    def run(self, session, input_sets):
        compute_mode, probed = os.environ["FALLS_BY"], session["files"][0].endswith(PROBE)
        if compute_mode == "stillborn" or (compute_mode == "aborting" and not probed):
            os.abort()
        if compute_mode == "hanging" and not probed:
            time.sleep(600)
        answers = super().run(session, input_sets)
        return answers if probed else [_lost() for _ in answers]


def _lost():
    return {"error": f"{EPFail.__name__}: the device was lost"}
