"""Engines: the processes in which native frameworks and ONNX Runtime run.

The judge (pytest's process) never imports a framework. Each engine is a *servant* class
(:data:`SERVANTS`) hosted in a worker process (:mod:`onnx_conformance.session.worker_client`).
"""

from __future__ import annotations

# Engine kind -> ``module:class`` of its servant; resolved inside the worker.
SERVANTS = {
    "torch": "onnx_conformance.workers.torch.backend:TorchServant",
    "keras": "onnx_conformance.workers.keras.backend:KerasServant",
    "onnx": "onnx_conformance.workers.onnx.backend:OnnxServant",
    "python": "onnx_conformance.workers.python.backend:PythonServant",
    "onnxruntime": "onnx_conformance.workers.onnxruntime.backend:OrtServant",
    "reader": "onnx_conformance.workers.reader.backend:ReaderServant",
}
