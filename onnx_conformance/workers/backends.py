"""Workers: the processes in which native frameworks and ONNX Runtime run.

The judge (pytest's process) never imports a framework. Each worker is a *backend* class
(:data:`BACKENDS`) hosted in a worker process (:mod:`onnx_conformance.session.worker_client`).
"""

from __future__ import annotations

# Worker kind -> ``module:class`` of its backend; resolved inside the worker.
BACKENDS = {
    "torch": "onnx_conformance.workers.torch.backend:TorchBackend",
    "keras": "onnx_conformance.workers.keras.backend:KerasBackend",
    "onnx": "onnx_conformance.workers.onnx.backend:OnnxBackend",
    "python": "onnx_conformance.workers.python.backend:PythonBackend",
    "onnxruntime": "onnx_conformance.workers.onnxruntime.backend:OnnxRuntimeBackend",
    "reader": "onnx_conformance.workers.reader.backend:ReaderBackend",
}
