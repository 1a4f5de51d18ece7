"""The conformance suite as a pytest plugin, module by module.

Loaded by the suite's own conftest.py and by no entry point: another project's tests see nothing
of its options, hooks and fixtures.
"""

from __future__ import annotations

pytest_plugins = (
    "onnx_conformance.plugin.configuration",
    "onnx_conformance.plugin.collection",
    "onnx_conformance.plugin.outcome",
    "onnx_conformance.plugin.case_fixtures",
    "onnx_conformance.plugin.latency",
    "onnx_conformance.plugin.gate",
)
