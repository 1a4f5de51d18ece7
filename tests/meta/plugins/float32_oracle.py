"""A torch worker whose float64 is float32 in a wider array."""

from onnx_conformance.run import worker_queue

_worker = worker_queue.WorkerQueues._worker
BACKEND = "tests.meta.plugins.float32_backend:Backend"


def _float32(self, kind, spec):
    return _worker(self, BACKEND if kind == "torch" else kind, spec)


worker_queue.WorkerQueues._worker = _float32
