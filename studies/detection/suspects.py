"""Wrong conversions that nothing found: is there anything to find?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.errors import WorkerError
from onnx_conformance.inputs.batch_layout import native_layout
from onnx_conformance.inputs.families import materialise, non_finite
from onnx_conformance.inputs.recipes import Inputs
from studies.detection.peers import Runtime
from studies.detection.rules import StudyRules


def is_suspect(
    runtime: Runtime, model: str, clean: Path, mutant: Path, study_rules: StudyRules
) -> bool:
    """Whether a mutant has its base's structure and, on all inputs, its answers."""
    if _structure(clean) != _structure(mutant):
        return False
    input_sets = _input_sets(model, study_rules)
    try:
        before, after = runtime.outputs(clean, input_sets), runtime.outputs(mutant, input_sets)
    except WorkerError:
        return False
    return all(_alike(a, b, study_rules.noise) for a, b in zip(before, after, strict=True))


def _input_sets(model: str, study_rules: StudyRules) -> list[Inputs]:
    spec = resolve_model(model)
    input_sets = [materialise(recipe, spec) for recipe in study_rules.suspect_recipes]
    input_sets += [non_finite(spec, 27).inputs] if study_rules.nan else []
    return [call for inputs in input_sets for call in native_layout(spec).calls(inputs)]


def _structure(path: Path) -> tuple[bytes, ...]:
    """Inputs, outputs and operator sets, as they stand in the file."""
    model = onnx.load(path, load_external_data=False)
    parts = (*model.graph.input, *model.graph.output, *model.opset_import)
    return tuple(part.SerializeToString() for part in parts)


def _alike(before: list[Array] | None, after: list[Array] | None, noise: float) -> bool:
    if before is None or after is None:
        return before is after
    return len(before) == len(after) and all(
        within_noise(one, other, noise) for one, other in zip(before, after, strict=True)
    )


def within_noise(one: Array, other: Array, noise: float) -> bool:
    """Equal in dtype, shape and what is not finite; else within noise, sample by sample."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    finite = np.isfinite(one)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return False
    rows = (np.where(finite, one, 0), np.where(finite, other, 0))
    flat = [row.reshape(len(row), -1).astype(np.float64) for row in rows]
    allowed = noise * np.abs(flat[0]).max(axis=1, initial=0.0)
    return bool((np.abs(flat[0] - flat[1]).max(axis=1, initial=0.0) <= allowed).all())
