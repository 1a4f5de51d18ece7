"""The entries of the study, from its YAML files, and what a run of the suite said of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

HERE = Path(__file__).parent
TORCH_ROUTES = ("torch_dynamo", "torch_torchscript")
ROUTES = {  # of an entry that names no exporter, by its origin
    "torch": TORCH_ROUTES,
    "hf_tiny": TORCH_ROUTES,
    "memory": TORCH_ROUTES,
    "keras": ("tf2onnx_function", "keras_export"),
}
POINTERS = 5  # models of a zoo that one run judges
WANTED = ("passed", "red", "refused")


@dataclass(frozen=True)
class Entry:
    """One model or file by one route, and the verdict that is right.

    Args:
        id: the registered model, a zoo's pointer, or a name for two files.
        models: the file in ``studies/wild`` that registers it.
        against, artifact: two ONNX files, or one twice.
        wheel, file: instead of two files: one out of a wheel, as ``silero_vad==6.2.3``.
        edit: what is made of that file, one of ``studies.wild.wheel_files.EDITS``; without, itself.
        exported: whether ``export(id, path)`` of the models file writes the artifact.
        exporter: the route; an entry of a model without one stands for each of its origin's.
        want: what is right: passed, red or refused.
        why: what is wrong with the conversion, where it is not passed.
        issue: the upstream issue of it.
        needs: packages without which it is skipped.
    """

    id: str
    want: str = "passed"
    models: str = ""
    against: str = ""
    artifact: str = ""
    wheel: str = ""
    file: str = ""
    edit: str = ""
    exported: bool = False
    exporter: str = ""
    args: tuple[str, ...] = ()
    why: str = ""
    issue: str = ""
    needs: tuple[str, ...] = ()
    origin: str = ""

    @property
    def pointer(self) -> bool:
        """Whether it is a model of a zoo by its name."""
        return not self.models and ":" in self.id


@dataclass(frozen=True)
class Judged:
    """An entry with what the suite said."""

    entry: Entry
    got: str
    seconds: float
    red: tuple[str, ...] = ()
    reason: str = ""
    upstream: tuple[str, ...] = ()  # upstream faults that the suite named

    @property
    def right(self) -> bool:
        """Whether this is the verdict that was wanted."""
        return self.got == self.entry.want


def read_entries(folder: Path = HERE) -> list[Entry]:
    """Every entry of every origin."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        for row in yaml.safe_load(path.read_text()) or []:
            lists = {key: tuple(row.get(key, ())) for key in ("args", "needs")}
            entry = Entry(**{**row, **lists, "origin": path.stem})
            if entry.want not in WANTED:
                raise ValueError(f"{path}: {entry.id} wants '{entry.want}', not one of {WANTED}")
            native = not (entry.wheel or entry.against or entry.exporter)
            routes = ROUTES.get(entry.origin, ("",)) if native else (entry.exporter,)
            found += [replace(entry, exporter=route) for route in routes]
    return found


def runs(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries that one run judges: of one models file, a few pointers, or one alone."""
    files: dict[tuple[str, str, tuple[str, ...]], list[Entry]] = defaultdict(list)
    for number, entry in enumerate(entries):
        alone = entry.exported or not (entry.models or entry.pointer)
        name = str(number) if alone else entry.models
        files[name, entry.exporter, entry.args].append(entry)
    for found in files.values():
        most = POINTERS if found[0].pointer else len(found)
        yield from (found[first : first + most] for first in range(0, len(found), most))
