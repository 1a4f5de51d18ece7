"""ONNX Runtime that leaves a node to another provider, by its own word."""

from fixtures.engines.ort_engine import OrtServant


class Servant(OrtServant):
    def open(self, session):
        told = super().open(session)
        return {**told, "placement": {**told["placement"], "OtherExecutionProvider": {"Shape": 1}}}
