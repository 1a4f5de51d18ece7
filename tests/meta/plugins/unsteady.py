"""Two providers, the CPU's in disguise, whose runs differ: one promises that they do not."""

from dataclasses import replace

from onnx_conformance.catalog.providers import CPU, PROVIDERS
from onnx_conformance.session import worker_queue

_engine = worker_queue.Lanes._engine
SERVANT = "tests.meta.plugins.unsteady_servant:Servant"
UNSTEADY = {"UNSTEADY": "1"}

for name, promised in (("promising", True), ("honest", False)):
    record = replace(CPU, name=name, deterministic=promised, environment=UNSTEADY)
    PROVIDERS.register(name, record)


def _unsteady(self, kind, spec):
    return _engine(self, SERVANT if spec and "UNSTEADY" in spec else kind, spec)


worker_queue.Lanes._engine = _unsteady
