"""ONNX Runtime on the CPU, most of whose nodes say that they ran on a provider of their own."""

import os

from onnx_conformance.workers.onnxruntime.backend import OnnxRuntimeBackend

CPU, PARTIAL = "CPUExecutionProvider", "PartialExecutionProvider"


class Backend(OnnxRuntimeBackend):
    def versions(self):
        return {**super().versions(), "compiled_in": [CPU, PARTIAL]}

    def open(self, session):
        opened = super().open(_on_the_cpu(session))
        nodes = dict(opened["placement"][CPU])
        left = {name: nodes.pop(name) for name in ("Relu",) if name in nodes}
        return {**opened, "placement": {PARTIAL: nodes, CPU: left}}

    def run(self, session, input_sets):
        return super().run(_on_the_cpu(session), input_sets)

    def profile(self, session, inputs, warm, runs):
        assert not self._sessions, "this process judges, and must not be profiled"
        if os.environ["PARTIAL_MEASURED"] == "0":
            raise RuntimeError("no profiler here")
        found = super().profile(_on_the_cpu(session), inputs, warm, runs)
        return {**found, "nodes": {CPU: found["run"] / 8, PARTIAL: found["run"] / 2}}


def _on_the_cpu(session):
    return {**session, "provider": CPU, "provider_options": {}, "allow_cpu_fallback": True}
