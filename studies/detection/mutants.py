"""Mutants of a model's bases, on disk, with what is known of each."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.run.external_artifacts import MANIFEST
from onnx_conformance.run.subject import NativeWeights
from studies.corpus import Fault, Site
from studies.corpus.drafts import Draft
from studies.detection.bases import Base
from studies.detection.fault_places import deal


@dataclass(frozen=True)
class Trial:
    """A file to judge: a mutant, or a clean export.

    Args:
        base: the name of the base that it was made from.
        verdict: ``wrong`` (must be found), ``harmless`` or ``clean`` (must not be).
    """

    path: Path
    model: str
    base: str
    fault: str
    family: str
    verdict: str
    place: str

    def as_row(self) -> dict[str, str]:
        """As plain data; the file by its base and name."""
        return {**asdict(self), "path": f"{self.base}/{self.path.name}"}


@dataclass
class Trials:
    """A model's files, and the faults that could not be made: defects of the corpus."""

    made: list[Trial] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)


def make_trials(
    bases: tuple[Base, ...],
    weights: NativeWeights,
    faults: list[Fault],
    places: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Trials:
    """Write each fault at ``places`` places of the model; the bases themselves go first."""
    trials = Trials([Trial(b.clean, b.model, b.name, "", "", "clean", "") for b in bases])
    drafts = [Draft(base.clean, weights.arrays) for base in bases]
    for base, draft in zip(bases, drafts, strict=True):
        draft.share_weights(base.folder)
    for number, fault in enumerate(faults):
        progress(number, len(faults))
        try:
            trials.made += _strike(fault, bases, drafts, places)
        except Exception as error:  # noqa: BLE001 - a fault may raise anything; the table tells it
            message = f"{type(error).__name__}: {error}"
            trials.defects.append(f"{fault.name} cannot strike {bases[0].model}: {message}")
    for base in bases:
        _write_manifest(base, [trial for trial in trials.made if trial.base == base.name])
    return trials


def _strike(
    fault: Fault, bases: tuple[Base, ...], drafts: list[Draft], places: int
) -> Iterator[Trial]:
    for number, (index, site) in enumerate(
        deal([partial(_sites, fault, draft) for draft in drafts], places, _turn(fault, bases))
    ):
        base, mutant = bases[index], drafts[index].mutant()
        site.strike(mutant)
        path = base.folder / f"{fault.name}-{number}.onnx"
        mutant.save(path)
        yield Trial(
            path, base.model, base.name, fault.name, fault.family, fault.verdict, site.place
        )


def _sites(fault: Fault, draft: Draft) -> list[Site]:
    return list(fault.sites(draft))


def _turn(fault: Fault, bases: tuple[Base, ...]) -> int:
    """Where a fault begins: elsewhere on every model, and elsewhere than other faults."""
    known = list(MODELS)
    model = known.index(bases[0].model) if bases[0].model in known else 0
    return zlib.crc32(fault.name.encode()) + model


def _write_manifest(base: Base, trials: list[Trial]) -> None:
    """Say what opset was asked for, as ``--save-onnx`` does beside its files."""
    entries = {
        trial.path.stem: {"file": trial.path.name, "opset_requested": base.opset}
        for trial in trials
    }
    (base.folder / MANIFEST).write_text(json.dumps(entries))
