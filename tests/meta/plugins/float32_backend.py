"""The backend of float32_oracle.py; imports torch, so only a worker's process may import it."""

import numpy as np

from onnx_conformance.workers.torch.backend import TorchBackend


class Backend(TorchBackend):
    """Answers in float32, whatever it is asked for."""

    def run(self, request, mode, input_sets):
        if mode != "float64":
            return super().run(request, mode, input_sets)
        narrow = [
            {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in inputs.items()}
            for inputs in input_sets
        ]
        rows = super().run(request, "float32", narrow)
        return [{name: array.astype(np.float64) for name, array in row.items()} for row in rows]
