"""Eager PyTorch beside ONNX Runtime, without the suite's judgement: which verdict is right?

    python -m studies.wild.eager_comparison RESULTS.json MODELS.py

RESULTS.json is what ``onnx-conformance run MODELS.py --report-json=RESULTS.json`` left (seed 0),
and names the exported files. Each is run on random inputs at several batches and sizes; the worst
difference from the module in float32 is printed, relative to the output's root mean square, or how
large a share of whole numbers is unequal.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from onnx_conformance.catalog.models import Declaration, declaring
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.workers.torch.calibrate import calibrate

SEED = 0  # the suite's default
BATCHES, EXTENTS = (1, 3, 6), (0.0, 0.3, 1.0)


def declared(path: Path) -> dict[str, Declaration]:
    """The models that a file registers, by name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with declaring() as found:
        spec.loader.exec_module(module)
    return {one.name: one for one in found}


def built(one: Declaration) -> torch.nn.Module:
    """The module with the weights that the suite gives it."""
    torch.manual_seed(SEED)
    module = one.builder().eval()
    if one.calibrate:
        calibrate(module, one.inputs[0].shape, SEED)
    return module


def drawn(one: Declaration, batch: int, extent: float) -> dict[str, torch.Tensor]:
    """Random inputs, as the model takes them."""
    recipe = Recipe("normal", batch=batch, seed=100 + batch, extent=extent)
    found = {}
    for spec in one.inputs:
        rows = recipe.inputs(one.inputs, one.axes)[spec.name]
        axis = spec.batch_axis
        array = rows[0] if axis is None else np.moveaxis(rows, 0, axis)
        found[spec.name] = torch.from_numpy(np.ascontiguousarray(array))
    return found


def called(module: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The module's outputs, flat: by the names of its parameters, in one dict, or in order."""
    names = inspect.signature(module.forward).parameters
    with torch.no_grad():
        if set(inputs) <= set(names):
            result = module(**inputs)
        elif len(names) < len(inputs):
            result = module(inputs)
        else:
            result = module(*inputs.values())
    return list(flat(result))


def flat(result: Any) -> Iterator[torch.Tensor]:
    """Tensors at any depth."""
    if isinstance(result, torch.Tensor):
        yield result
    else:
        for part in result.values() if isinstance(result, dict) else result:
            yield from flat(part)


def gap(wanted: np.ndarray, got: np.ndarray) -> float:
    """How far an answer is off; infinity where it has another shape."""
    if wanted.shape != got.shape:
        return np.inf
    if wanted.dtype.kind != "f":
        return float(np.mean(wanted != got)) if wanted.size else 0.0
    size = float(np.sqrt(np.mean(wanted.astype(np.float64) ** 2))) if wanted.size else 1.0
    return float(np.abs(wanted - got).max(initial=0.0)) / (size + 1e-30)


def worst(one: Declaration, path: str) -> tuple[float, str]:
    """The largest difference, and what ONNX Runtime said where it refused inputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    module, session = built(one), onnxruntime.InferenceSession(path, options)
    names = {value.name for value in session.get_inputs()}
    largest, said = 0.0, ""
    for batch, extent in product(BATCHES, EXTENTS):
        inputs = drawn(one, batch, extent)
        try:
            got = session.run(None, {n: t.numpy() for n, t in inputs.items() if n in names})
        except Exception as error:  # noqa: BLE001 # ONNX Runtime's classes have no common base
            said = f"refused at batch {batch}, extent {extent:g}: {' '.join(str(error).split())}"
            continue
        pairs = zip(called(module, inputs), got, strict=True)
        largest = max(largest, *(gap(wanted.numpy(), found) for wanted, found in pairs))
    return largest, said


def main() -> None:
    """Print a line for each exported file."""
    warnings.simplefilter("ignore")
    results, path = sys.argv[1:]
    models = declared(Path(path))
    for case in json.loads(Path(results).read_text())["cases"]:
        if case["option"] or case["model"] not in models:
            continue
        label = f"{case['model']:36} {case['exporter']:18}"
        if not case["artifact"]:
            print(f"{label} was not exported")
            continue
        difference, said = worst(models[case["model"]], case["artifact"])
        print(f"{label} {difference:9.2g}  {said[:120]}", flush=True)


if __name__ == "__main__":
    main()
