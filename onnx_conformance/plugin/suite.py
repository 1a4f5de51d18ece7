"""The conformance suite as a pytest plugin, module by module.

Only the suite's own conftest.py loads it, no entry point does: it adds no options, hooks or
fixtures to the tests of other projects.
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
