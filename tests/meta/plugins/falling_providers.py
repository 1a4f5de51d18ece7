"""Providers, the CPU's in disguise, each of whose processes comes to grief in a way of its own."""

from dataclasses import replace

from onnx_conformance.catalog.providers import CPU, PROVIDERS
from onnx_conformance.run import worker_queue

_worker = worker_queue.WorkerQueues._worker
BACKEND = "tests.meta.plugins.falling_backend:Backend"

for name in ("aborting", "hanging", "losing", "stillborn"):
    PROVIDERS.register(name, replace(CPU, name=name, environment={"FALLS_BY": name}))


def _falling(self, kind, spec):
    return _worker(self, BACKEND if spec and "FALLS_BY" in spec else kind, spec)


worker_queue.WorkerQueues._worker = _falling
