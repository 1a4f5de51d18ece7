"""Mutants as files: ``python -m studies.corpus.mutant_files BASE.onnx FOLDER``."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import studies.corpus as corpus
from studies.corpus import FAULTS, Fault, Site
from studies.corpus.drafts import Draft

LIST = "corpus.json"
PLACES = 5


@dataclass(frozen=True)
class MutantFile:
    """One mutant on disk.

    Args:
        file: its name, in the folder of the list.
        root_cause: nodes that may be named as introducing the error.
    """

    file: str
    fault: str
    family: str
    verdict: str
    values: bool
    place: str
    root_cause: tuple[str, ...]


def load_corpus() -> None:
    """Import every module of the corpus, so that its faults are registered."""
    for module in pkgutil.iter_modules(corpus.__path__):
        importlib.import_module(f"{corpus.__name__}.{module.name}")


def spread(sites: list[Site], count: int) -> list[Site]:
    """At most ``count`` of the sites, evenly spread over the graph, its ends included."""
    if len(sites) <= count:
        return sites
    step = (len(sites) - 1) / (count - 1) if count > 1 else 0
    return [sites[round(place * step)] for place in range(count)]


def make_mutants(
    draft: Draft, folder: Path, *, places: int = PLACES, faults: list[Fault] | None = None
) -> Iterator[MutantFile]:
    """Write the draft's mutants to ``folder``, one after another; a site that refuses raises."""
    draft.share_weights(folder)
    for fault in faults if faults is not None else FAULTS.values():
        for number, site in enumerate(spread(list(fault.sites(draft)), places)):
            mutant = draft.mutant()
            site.strike(mutant)
            name = f"{fault.name}-{number}.onnx"
            mutant.save(folder / name)
            yield MutantFile(
                name,
                fault.name,
                fault.family,
                fault.verdict,
                fault.values,
                site.place,
                site.root_cause,
            )


def write_list(made: list[MutantFile], folder: Path) -> None:
    """The list of what was made, beside it."""
    (folder / LIST).write_text(json.dumps([asdict(one) for one in made], indent=1) + "\n")


def main() -> None:
    """Write all mutants of one artifact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--places", type=int, default=PLACES)
    parser.add_argument("--weights", type=Path, help="the native model's weights (npz)")
    chosen = parser.parse_args()
    load_corpus()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    weights = dict(np.load(chosen.weights)) if chosen.weights else None
    made = list(make_mutants(Draft(chosen.base, weights), chosen.folder, places=chosen.places))
    write_list(made, chosen.folder)
    kinds = len({one.fault for one in made})
    print(f"{len(made)} mutants of {kinds} kinds in {chosen.folder}")


if __name__ == "__main__":
    main()
