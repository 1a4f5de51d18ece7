"""A runtime whose extended optimisations are wrong: Gemm's bias is lost from there on."""

from onnx_conformance.session import worker_queue

_engine = worker_queue.Lanes._engine
SERVANT = "tests.meta.plugins.bad_level_servant:Servant"


def _optimising(self, kind, spec):
    return _engine(self, SERVANT if kind == "onnxruntime" else kind, spec)


worker_queue.Lanes._engine = _optimising
