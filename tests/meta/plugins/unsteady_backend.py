"""ONNX Runtime of whose answers every second is off by a last bit."""

import numpy as np

from onnx_conformance.workers.onnxruntime.backend import OnnxRuntimeBackend

COLUMNS = 5  # of the model that is judged: the probe's own model stays right


class Backend(OnnxRuntimeBackend):
    _answers = 0

    def run(self, session, input_sets):
        return [self._swayed(result) for result in super().run(session, input_sets)]

    def _swayed(self, result):
        self._answers += 1
        outputs = result.get("outputs", {})
        if self._answers % 2 or any(a.shape[-1] != COLUMNS for a in outputs.values()):
            return result
        up = np.float32(np.inf)
        return {**result, "outputs": {name: np.nextafter(a, up) for name, a in outputs.items()}}
