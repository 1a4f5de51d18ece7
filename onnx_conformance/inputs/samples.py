"""Samples in a user's folder, and typical inputs, to calibrate int8 on and to judge it on.

A folder holds .npz files with an array for each input, or photographs. Typical inputs are those of
the model's task if it has one, else recipes of ordinary inputs; calibration and judgement never
share a sample.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.domains import Bounded, Integers
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.families import InputPlan, input_family, materialise
from onnx_conformance.inputs.photographs import normalised, read_photograph, resize_and_crop
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.inputs.tasks import BATCH, TASKS, Samples, in_batches

PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
LABELS = "labels"  # the array of right classes in an .npz file
# What NumPy and zipfile raise on a file that is no archive of arrays, or claims more than there is.
UNREADABLE = (
    OSError, ValueError, EOFError, TypeError, AttributeError, KeyError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """A folder of samples, by the option that names it."""

    option: str
    path: Path

    def samples(self, model: ModelSpec) -> Samples:
        """The folder's samples in batches, its files in the order of their names.

        Raises:
            UsageError: no such folder, nothing in it, or a file that does not fit the model.
        """
        if not self.path.is_dir():
            sought = "" if self.path.is_absolute() else f" in {Path.cwd()}"
            found = "no folder" if self.path.exists() else f"no such folder{sought}"
            raise self._unreadable(model, found)
        files = sorted(path for path in self.path.iterdir() if path.is_file())  # no pipe: it blocks
        arrays = [path for path in files if path.suffix.lower() == ".npz"]
        images = [path for path in files if path.suffix.lower() in PHOTOGRAPHS]
        if arrays and images:
            raise self._refused("both .npz files and photographs; put them in two folders")
        if arrays:
            return self._from_arrays(model, arrays)
        if images:
            return _without_repetition([(self._photographs(model, images), None)])
        held = ", ".join(path.name for path in files[:3]) or "empty"
        raise self._unreadable(model, f"nothing to read ({held})")

    def _unreadable(self, model: ModelSpec, found: str) -> UsageError:
        return UsageError(
            f"{self.option} {self.path}: {found}; give a folder with .npz files (an array for each "
            f"input: {', '.join(spec.name for spec in model.inputs)}) or photographs"
        )

    def _refused(self, problem: str) -> UsageError:
        return UsageError(f"{self.option} {self.path}: {problem}")

    def _from_arrays(self, model: ModelSpec, paths: Sequence[Path]) -> Samples:
        found = [self._npz(model, path) for path in paths]
        labelled = sum(labels is not None for _, labels in found)
        if labelled not in (0, len(found)):
            raise self._refused(
                f"{labelled} of {len(found)} files have '{LABELS}'; give all files labels, or none"
            )
        return _without_repetition(found)

    def _npz(self, model: ModelSpec, path: Path) -> tuple[Arrays, NDArray[np.int64] | None]:
        found = self._opened(model, path)
        inputs = self._rows(model, path, found)
        for spec in model.inputs:
            self._refuse_outside(path, spec, inputs[spec.name])
        labels = None if LABELS in inputs else found.get(LABELS)
        return inputs, self._labels(path, labels, len(next(iter(inputs.values()))))

    def _rows(self, model: ModelSpec, path: Path, found: Arrays) -> Arrays:
        """A row for each sample of every input; what samples share stands once in a file."""
        inputs: Arrays = {}
        for spec in model.inputs:
            array = found.get(spec.name)
            rows = None if array is None else _as_rows(spec, array)
            if array is None or rows is None or array.dtype != spec.held:
                seen = (
                    f"missing (found: {', '.join(found) or 'nothing'})"
                    if array is None
                    else f"{array.dtype}{list(array.shape)}"
                )
                raise self._refused(
                    f"{path.name}: '{spec.name}' is {seen}, expected {spec.dtype}{list(spec.shape)}"
                )
            inputs[spec.name] = rows
        once = [
            spec.name
            for spec in model.inputs
            if spec.batch_axis is None and found[spec.name].ndim == len(spec.shape)
        ]
        counts = {len(rows) for name, rows in inputs.items() if name not in once} or {1}
        if len(counts) != 1 or 0 in counts:
            raise self._refused(f"{path.name}: its inputs have {sorted(counts)} samples")
        (count,) = counts
        return inputs | {name: np.repeat(inputs[name], count, axis=0) for name in once}

    def _opened(self, model: ModelSpec, path: Path) -> Arrays:
        """The arrays of a file, which may hold inputs and labels only."""
        known = (*(spec.name for spec in model.inputs), LABELS)
        try:
            with np.load(path, allow_pickle=False) as file:
                strange = [name for name in file.files if name not in known]
                if strange:
                    inputs = ", ".join(known[:-1])
                    raise self._refused(
                        f"{path.name}: '{strange[0]}' is neither an input ({inputs}) nor '{LABELS}'"
                    )
                found = {name: file[name] for name in file.files}
        except UNREADABLE as error:
            raise self._refused(f"cannot read {path.name}: {error}") from error
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise self._refused(f"cannot read {path.name}: it contains something other than arrays")
        return found

    def _refuse_outside(self, path: Path, spec: TensorSpec, array: NDArray[np.generic]) -> None:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self._refused(f"{path.name}: '{spec.name}' has NaN or infinity")
        if isinstance(spec.domain, Bounded | Integers):
            low = spec.domain.low
            high = spec.domain.high - (1 if isinstance(spec.domain, Integers) else 0)
            if array.min() < low or array.max() > high:
                raise self._refused(
                    f"{path.name}: '{spec.name}' goes from {array.min():g} to {array.max():g}, but "
                    f"the model's spec says {low:g} to {high:g}; scale it as the model needs it"
                )

    def _labels(
        self, path: Path, labels: NDArray[Any] | None, count: int
    ) -> NDArray[np.int64] | None:
        if labels is None:
            return None
        if labels.shape == (count,) and labels.dtype.kind in "iu":
            return labels.astype(np.int64)
        raise self._refused(
            f"{path.name}: '{LABELS}' is {labels.dtype}{list(labels.shape)}, expected integers "
            f"[{count}]: the right class of each sample"
        )

    def _photographs(self, model: ModelSpec, images: Sequence[Path]) -> Arrays:
        how = model.preprocessing
        if how is None or len(model.inputs) != 1:
            raise self._refused(
                f"{model.name} has no preprocessing of photographs; give .npz files"
            )
        pixels = [normalised(resize_and_crop(read_photograph(p), how), how) for p in images]
        samples = np.stack(pixels)
        if model.inputs[0].sample[0] != samples.shape[1]:
            samples = np.ascontiguousarray(samples.transpose(0, 2, 3, 1))
        return {model.inputs[0].name: samples}


def row_digests(inputs: Mapping[str, NDArray[Any]]) -> list[str]:
    """The digest of each sample."""
    return [sample.digest for sample in Inputs(inputs).each_alone()]


def _without_repetition(parts: Sequence[tuple[Arrays, NDArray[np.int64] | None]]) -> Samples:
    """The samples in batches; one that is repeated is no further evidence."""
    known: set[str] = set()
    input_sets, kept, repeated = [], [], 0
    for inputs, labels in parts:
        fresh = []
        for digest in row_digests(inputs):
            fresh.append(digest not in known)
            known.add(digest)
        repeated += fresh.count(False)
        input_sets += in_batches({name: array[fresh] for name, array in inputs.items()})
        kept += [] if labels is None else [labels[fresh]]
    return Samples(tuple(input_sets), np.concatenate(kept) if kept else None, repeated)


def _as_rows(spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any] | None:
    """A row for each sample of an array, which is in the model's own layout or in rows already.

    None where it is neither. An array of an input without a batch is one row, for all samples.
    """
    axis = spec.batch_axis
    if array.ndim == len(spec.shape):
        if axis is None:
            return array[None] if _fits(array.shape, spec.shape) else None
        turned = np.moveaxis(array, axis, 0)
        if _fits(turned.shape[1:], spec.sample):
            return np.ascontiguousarray(turned)
    return array if array.ndim and _fits(array.shape[1:], spec.sample) else None


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        isinstance(dim, str) or size == dim for size, dim in zip(shape, wanted, strict=True)
    )


# -- typical inputs --------------------------------------------------------------------------------

TYPICAL_RECIPES = ("normal", "uniform", "image")
CALIBRATION_SEEDS, JUDGEMENT_SEEDS = (1000, 1001), (2000, 2001, 2002)  # after the run's own


def calibration_inputs(model: ModelSpec, seed: int) -> list[Inputs]:
    """Inputs to calibrate on, in batches."""
    if model.task:
        return list(TASKS[model.task].calibration(model, seed).input_sets)
    return _ordinary(model, [seed + offset for offset in CALIBRATION_SEEDS])


def typical_inputs(model: ModelSpec, seed: int) -> list[Inputs]:
    """Inputs to judge on, in batches: of a task, all its evaluation samples in order."""
    if model.task:
        return list(task_samples(model, seed).input_sets)
    return _ordinary(model, [seed + offset for offset in JUDGEMENT_SEEDS])


@lru_cache(maxsize=4)
def task_samples(model: ModelSpec, seed: int) -> Samples:
    """The evaluation samples of the model's task."""
    return TASKS[model.task].evaluation(model, seed)


def _ordinary(model: ModelSpec, seeds: list[int]) -> list[Inputs]:
    return [
        materialise(Recipe(family, batch=BATCH, seed=seed), model)
        for seed in seeds
        for family in TYPICAL_RECIPES
    ]


def user_inputs(model: ModelSpec, folder: Path) -> list[Inputs]:
    """A user's calibration data.

    Raises:
        UsageError: no such folder, nothing in it, or a file that does not fit the model.
    """
    return list(Folder("--calibration-data", folder).samples(model).input_sets)


@input_family("typical")
def _typical_plan(model: ModelSpec, seed: int) -> InputPlan:
    input_sets = typical_inputs(model, seed)
    return InputPlan(native=tuple(input_sets), runtime=tuple(input_sets[0].each_alone()))
