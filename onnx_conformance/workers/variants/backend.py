"""The backend that makes variants, in a process whose death harms no other."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.server import load_object


class VariantBackend:
    """Makes one file from another."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def make(
        self,
        function: str,
        needs: str,
        source: str,
        target: str,
        calibration: Sequence[Inputs] | None = None,
        libraries: Sequence[str] = (),
    ) -> None:
        """Write ``target`` from ``source`` by a variant's function.

        Args:
            calibration: inputs of one call each under the spec's names, in the file's own layout,
                for a variant that calibrates.
            libraries: with the file's custom operators, for functions that load them.

        Raises:
            CapabilityMissing: the module that it needs is not installed.
        """
        if needs and importlib.util.find_spec(needs) is None:
            raise CapabilityMissing(f"{needs} is not installed: pip install {needs}")
        make = load_object(function)
        arguments: dict[str, Any] = (
            {} if calibration is None else {"calibration": list(calibration)}
        )
        if "libraries" in inspect.signature(make).parameters:
            arguments["libraries"] = list(libraries)
        make(Path(source), Path(target), **arguments)
