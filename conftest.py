"""The conformance suite's wiring is the library's; here it is only loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

import onnx_conformance

# The first is registered under this name by the entry point of an installed package, and only once.
pytest_plugins = ("onnx_conformance.plugin", "onnx_conformance.plugin.suite")

_LIBRARY = Path(onnx_conformance.__file__).resolve().parents[1]
if _LIBRARY not in Path(__file__).resolve().parents:
    raise pytest.UsageError(
        f"these tests are of {Path(__file__).resolve().parent}, and the onnx_conformance that "
        f"Python imports is of {_LIBRARY}; run them by 'python -m pytest' in their own folder"
    )
