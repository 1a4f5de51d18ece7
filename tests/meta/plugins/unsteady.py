"""Two providers, the CPU's in disguise, whose runs differ: one promises that they do not."""

from dataclasses import replace

from onnx_conformance.catalog.providers import CPU, PROVIDERS
from onnx_conformance.run import worker_queue

_worker = worker_queue.WorkerQueues._worker
BACKEND = "tests.meta.plugins.unsteady_backend:Backend"
UNSTEADY = {"UNSTEADY": "1"}

for name, promised in (("promising", True), ("honest", False)):
    record = replace(CPU, name=name, deterministic=promised, environment=UNSTEADY)
    PROVIDERS.register(name, record)


def _unsteady(self, kind, spec):
    return _worker(self, BACKEND if spec and "UNSTEADY" in spec else kind, spec)


worker_queue.WorkerQueues._worker = _unsteady
