"""Wrong conversions that show on some values only: the corpus' own, and some that are rarer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from onnx_conformance.checks.controls import changed
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.run.subject import Artifact, Subject
from studies.corpus import FAULTS, Fault, Site
from studies.corpus.drafts import Draft
from studies.corpus.mutant_files import load_corpus, make_mutants
from studies.corpus.patches import Build, Patch, detour_site

Factors = Callable[[int], np.ndarray[Any, Any]]  # of the samples of a batch of that size


def wrong_subjects(right: Subject, folder: Path, places: int) -> Iterator[tuple[str, Subject]]:
    """The subject with each fault in turn, and the fault's name."""
    load_corpus()
    shipped = [fault for fault in FAULTS.values() if fault.values and fault.verdict == "wrong"]
    yield from mutants(right, folder, [*shipped, *RARE], places)
    for name, factors in ANSWERS.items():
        yield name, answering(right, factors)


def mutants(
    right: Subject, folder: Path, faults: list[Fault], places: int = 1
) -> Iterator[tuple[str, Subject]]:
    """The subject with mutants of its file."""
    for made in make_mutants(Draft(right.artifact.path), folder, places=places, faults=faults):
        path = folder / made.file
        facts = inspect(path)
        files = tuple(folder / name for name in facts["files"])
        artifact = Artifact(path, files, tuple(map(file_digest, files)), facts)
        yield f"{made.fault} at {made.place}", right.with_artifact(artifact)


def answering(right: Subject, factors: Factors) -> Subject:
    """The subject whose answers are multiplied, each sample by its own factor."""

    def change(outputs: Any, inputs: Any, repeat: int) -> Any:
        return {name: (array.T * _row(factors, array)).T for name, array in outputs.items()}

    return changed(right, change)


def _row(factors: Factors, array: Any) -> Any:
    return factors(len(array)).astype(array.dtype)


def _rare(name: str, build: Build) -> Fault:
    def sites(draft: Draft) -> Iterator[Site]:
        yield detour_site(draft.inputs[0].name, build)

    return Fault(name, "values", "wrong", name.replace("_", " "), "", True, sites)


def _clip(most: float) -> Build:
    return lambda patch, x: patch.add("Clip", x, patch.constant(-most), patch.constant(most))


def _band(low: float, high: float) -> Build:
    def build(patch: Patch, x: str) -> str:
        above = patch.add("Greater", x, patch.constant(low))
        inside = patch.add("And", above, patch.add("Less", x, patch.constant(high)))
        return patch.add("Where", inside, patch.add("Mul", x, patch.constant(1.01)), x)

    return build


def _where_large(patch: Patch, x: str) -> str:
    size = patch.add("ReduceMax", patch.add("Abs", x), keepdims=0)
    large = patch.add("Greater", size, patch.constant(25.0))
    return patch.add("Where", large, patch.add("Mul", x, patch.constant(1.001)), x)


def _exactly_one(patch: Patch, x: str) -> str:
    is_one = patch.add("Equal", x, patch.constant(1.0))
    return patch.add("Where", is_one, patch.constant(1.001), x)


RARE = [
    _rare("clipped_at_a_half", _clip(0.5)),
    _rare("clipped_at_3", _clip(3.0)),
    _rare("clipped_at_30", _clip(30.0)),
    _rare("clipped_at_100000", _clip(1e5)),
    _rare("floor_at_minus_5", lambda patch, x: patch.add("Max", x, patch.constant(-5.0))),
    _rare("between_2_and_2.5", _band(2.0, 2.5)),
    _rare("between_minus_7_and_minus_6", _band(-7.0, -6.0)),
    _rare("off_where_one_is_above_25", _where_large),
    _rare("one_becomes_1.001", _exactly_one),
]
ANSWERS: dict[str, Factors] = {
    "second sample x 1.01": lambda n: np.where(np.arange(n) == 1, 1.01, 1.0),
    "third sample x 1.01": lambda n: np.where(np.arange(n) == 2, 1.01, 1.0),
    "x 1.01 in batches of 2 or more": lambda n: np.full(n, 1.01 if n > 1 else 1.0),
    "x 1.01 in batches of 1": lambda n: np.full(n, 1.01 if n == 1 else 1.0),
}
