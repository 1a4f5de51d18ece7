"""Every intermediate tensor of a torch model, with its operator, module and source line."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from onnx_conformance.core.traces import NativeTensorRecord, measure_noise_floors, save, short_path
from onnx_conformance.workers.torch.modes import (
    OperatorMode,
    following,
    tensors_in,
    without_fused_attention,
)
from onnx_conformance.workers.torch.precision import array_of
from onnx_conformance.workers.torch.private import (
    decomposition_table,
    overload_name,
    writes,
)

_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_WORKERS = f"{Path(__file__).parents[1]}{os.sep}"
# Whose steps no exporter writes out; the first two cost most of a trace's memory.
_WHOLE = {"native_batch_norm", "_native_batch_norm_legit_no_training", "max_pool2d_with_indices"}
_VIEWS = {"detach", "clone", "t", "transpose", "permute", "expand"}


def trace(
    modules: Iterable[torch.nn.Module], input_set: dict[str, torch.Tensor], folder: Path
) -> list[NativeTensorRecord]:
    """The tensors of the first module, a float64 one; the others are float32 and noise floors.

    Args:
        modules: made one after another, so that only one is held beside native.
        input_set: by name, in the model's order.
        folder: where the tensors are written.
    """
    names, inputs = list(input_set), list(input_set.values())
    records: list[NativeTensorRecord] = []

    def kept(place: int, array: Any) -> Any:
        return save(folder, f"native-{place}.npy", array)

    def compared(place: int, array: Any) -> Any:
        if place < len(records):  # tensor by tensor, so that none is kept
            measure_noise_floors(folder, records[place : place + 1], [array])
        return {}

    for order, module in enumerate(modules):
        recorder = _Recorder(compared if order else kept)
        fed = [t.clone() if order or not t.is_floating_point() else t.double() for t in inputs]
        _run(recorder, module, fed, names)
        records = records or recorder.records
    return records


def _run(
    recorder: _Recorder, module: torch.nn.Module, inputs: list[torch.Tensor], names: list[str]
) -> None:
    with without_fused_attention(), torch.no_grad(), following(module, recorder.running):
        for name, tensor in zip(names, inputs, strict=True):
            recorder.begin(name, tensor)
        with recorder:
            module(*inputs)


class _Recorder(OperatorMode):  # type: ignore[no-untyped-call] # of the base
    """Writes down each tensor as it is made: in-place operators overwrite it later.

    Whole numbers and truth values too, such as token ids and masks; not those within an operator,
    nor a pooling's indices.
    """

    enters_compositions = False

    def __init__(self, keep: Callable[[int, Any], Any]) -> None:
        super().__init__()
        self.records: list[NativeTensorRecord] = []
        self._keep = keep
        self._places: Any = WeakTensorKeyDictionary()
        self.running: list[str] = []
        self._derived = 0

    def begin(self, name: str, tensor: torch.Tensor) -> None:
        """An input of the model."""
        self._note("input", [tensor], [], name)

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Keep what the operator makes, and what its own steps do."""
        name = func.overloadpacket.__name__
        sources = [p for t in tensors_in((args, kwargs)) for p in self._places.get(t, [])]
        start = len(self.records)
        steps = self._steps_of(func, name) if sources else None
        if steps is not None:
            self._decompose(steps, args, kwargs)
            sources += range(start, len(self.records))  # what follows from a step follows from it
        result = func(*args, **kwargs)
        if sources and name not in ("detach",):
            weighted = any(t.dim() and t not in self._places for t in tensors_in((args, kwargs)))
            self._note(name, tensors_in(result), sources, weighted=weighted)
        return result

    def _steps_of(self, func: Any, name: str) -> Callable[..., Any] | None:
        """What exporters may write out an operator as, where they may write it as several.

        Of an in-place operator its twin's: a step must not overwrite what the operator reads.
        """
        if self._derived or name in _WHOLE | _VIEWS:
            return None
        if writes(func):
            out_of_place = getattr(torch.ops.aten, name.removesuffix("_"), None)
            func = getattr(out_of_place, overload_name(func), None)
            if func is None or writes(func):
                return None
        steps: Callable[..., Any] | None = decomposition_table.get(func)
        return steps

    def _decompose(self, steps: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """Run the operator's decomposition beside it, for the tensors within."""
        self._derived += 1
        try:
            with self, contextlib.suppress(RuntimeError, NotImplementedError, TypeError):
                steps(*args, **kwargs)
        finally:
            self._derived -= 1

    def _note(
        self,
        operator: str,
        made: list[torch.Tensor],
        sources: list[int],
        name: str = "",
        weighted: bool = False,
    ) -> None:
        for tensor in made:
            within = self._derived > 0 or operator in _WHOLE
            if tensor.numel() == 0 or (within and not tensor.is_floating_point()):
                self._places[tensor] = sources  # what follows from it comes from them
                continue
            place = len(self.records)
            array = array_of(tensor)
            record: Any = {
                **self._keep(place, array),
                "operator": operator,
                "module": name or (self.running[-1] if self.running else ""),
                "source": "" if name else _source(),
                "inputs": sorted(set(sources)),
                "weighted": weighted,
                "derived": self._derived > 0,
                "noise_rms": 0.0,
                "noise_max": 0.0,
            }
            self.records.append(record)
            self._places[tensor] = [place]


def _source() -> str:
    """Where the model's own code stands: the innermost frame outside torch, or nothing."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_WORKERS) and path != __file__:
            return ""  # the model is made of torch's modules alone
        if not path.startswith((_TORCH, __file__)):
            return f"{short_path(path)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
