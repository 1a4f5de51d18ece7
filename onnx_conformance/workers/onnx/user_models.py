"""ONNX files that users hand in; it imports ONNX Runtime only where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.workers.built_model import BuiltModel, UserModels


class OnnxModels(UserModels):
    """Paths of ONNX files."""

    def owns(self, model: Any) -> bool:
        return isinstance(model, Path)

    def built(
        self, name: str, model: Any, threads: int | None, declared: Sequence[TensorSpec] = ()
    ) -> BuiltModel:
        from onnx_conformance.workers.onnx.file_model import file_model

        return file_model(model, threads, declared)


def file(path: str) -> Path:
    """The builder of ``--against FILE``."""
    return Path(path)
