"""Workers: the processes in which native frameworks and ONNX Runtime run.

The judge (pytest's process) never imports a framework. Each worker is a *backend* class
(:func:`backend_of`) hosted in a worker process (:mod:`onnx_conformance.session.worker_client`).
"""

from __future__ import annotations

from onnx_conformance.catalog.frameworks import FRAMEWORKS

_OTHERS = {
    "onnxruntime": "onnx_conformance.workers.onnxruntime.backend:OnnxRuntimeBackend",
    "reader": "onnx_conformance.workers.reader.backend:ReaderBackend",
}


def backend_of(kind: str) -> str:
    """``module:class`` of a worker's backend; an unknown kind names its class itself."""
    if kind in FRAMEWORKS:
        return FRAMEWORKS[kind].backend
    return _OTHERS.get(kind, kind)
