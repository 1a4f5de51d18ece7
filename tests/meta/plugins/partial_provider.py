"""Two providers that leave Relu to the CPU; the work of one of them cannot be measured."""

from onnx_conformance.catalog.providers import PROVIDERS, Provider
from onnx_conformance.run import worker_queue

_worker = worker_queue.WorkerQueues._worker
BACKEND = "tests.meta.plugins.partial_provider_backend:Backend"

for name, measured in (("partial", "1"), ("unmeasured", "0")):
    environment = {"PARTIAL_MEASURED": measured}
    PROVIDERS.register(name, Provider(name, "PartialExecutionProvider", environment=environment))


def _partial(self, kind, spec):
    return _worker(self, BACKEND if spec and "PARTIAL_MEASURED" in spec else kind, spec)


worker_queue.WorkerQueues._worker = _partial
