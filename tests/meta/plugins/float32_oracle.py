"""A torch engine whose float64 is float32 in a wider array."""

from onnx_conformance.session import worker_queue

_engine = worker_queue.Lanes._engine
SERVANT = "tests.meta.plugins.float32_servant:Servant"


def _float32(self, kind, spec):
    return _engine(self, SERVANT if kind == "torch" else kind, spec)


worker_queue.Lanes._engine = _float32
