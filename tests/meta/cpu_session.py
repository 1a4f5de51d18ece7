"""The request for a file's session on ONNX Runtime's CPU provider, for tests and studies."""

from __future__ import annotations

from pathlib import Path

from onnx_conformance.core.worker_messages import SessionRequest


def cpu_session(path: Path | str, graph_level: str = "enable_all") -> SessionRequest:
    """What a worker opens ``path`` by."""
    return {
        "files": [str(path)],
        "sha256": [],
        "provider": "CPUExecutionProvider",
        "provider_options": {},
        "graph_level": graph_level,
        "allow_cpu_fallback": True,
    }
