"""The servant of float32_oracle.py; imports torch, so only an engine's process may import it."""

import numpy as np

from onnx_conformance.workers.torch.backend import TorchServant


class Servant(TorchServant):
    """Answers in float32, whatever it is asked for."""

    def run(self, model, weights, precision, feeds, **more):
        if precision != "float64":
            return super().run(model, weights, precision, feeds, **more)
        rows = super().run(model, weights, "float32", feeds, **more)
        return [{name: array.astype(np.float64) for name, array in row.items()} for row in rows]
