"""Two providers, the CPU's in disguise, whose runs differ: one promises that they do not."""

from dataclasses import replace

from fixtures.pipeline import lanes
from fixtures.providers import PROVIDERS
from fixtures.providers.records import CPU

_engine = lanes.Lanes._engine
SERVANT = "tests.meta.plugins.unsteady_servant:Servant"
UNSTEADY = {"UNSTEADY": "1"}

for name, promised in (("promising", True), ("honest", False)):
    record = replace(CPU, name=name, deterministic=promised, environment=UNSTEADY)
    PROVIDERS.register(name, record)


def _unsteady(self, kind, spec):
    return _engine(self, SERVANT if spec and "UNSTEADY" in spec else kind, spec)


lanes.Lanes._engine = _unsteady
