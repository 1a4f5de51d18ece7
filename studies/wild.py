"""Models that nobody here chose, judged as a new user would: does each get the right verdict?

``make wild``; ``python -m studies.wild --only llama`` for one. The entries are in
``studies/wild/*.yaml``, one file an origin; ``studies/wild/README.md`` says what an entry holds.
Writes ``docs/wild.json`` and ``docs/wild.md``; what ``--only`` leaves out keeps its row.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from studies.wild_files import NotHere, edited, exported, fetched
from studies.wild_table import DOCS, write_table

HERE = Path(__file__).with_name("wild")
TORCH_ROUTES = ("torch_dynamo", "torch_torchscript")
ROUTES = {  # of an entry that names no exporter, by its origin
    "torch": TORCH_ROUTES,
    "hf_tiny": TORCH_ROUTES,
    "keras": ("tf2onnx_function", "keras_export"),
}
LIMIT = 900  # seconds of one run
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
        edit: what is made of that file, one of ``studies.wild_files.EDITS``; without, itself.
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
    words: str = ""
    told: tuple[str, ...] = field(default=())  # upstream faults that the suite named

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


def command(entries: Sequence[Entry], report: Path) -> list[str]:
    """What a user types for these entries."""
    first = entries[0]
    words = [sys.executable, "-m", "onnx_conformance", "run", "--provider=cpu", "-q"]
    words += [f"--report-json={report}", *first.args]
    if first.exporter:
        words += [f"--exporter={first.exporter}", "--opset=18"]
    for option in ("against", "artifact"):
        if getattr(first, option):
            words.append(f"--{option}={HERE / getattr(first, option)}")
    if first.models:
        words.append(f"--models-from={HERE / first.models}.py")
    if not first.against:
        words += [f"--model={entry.id}" for entry in entries]
    return words


def judge(entries: Sequence[Entry]) -> list[Judged]:
    """What one run says of each of its entries.

    Raises:
        NotHere: the wheel of an entry cannot be fetched.
    """
    entries = [with_files(entry) for entry in entries]
    with tempfile.TemporaryDirectory() as folder:
        report, started = Path(folder) / "results.json", time.perf_counter()
        try:
            ran = subprocess.run(
                command(entries, report), capture_output=True, text=True, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            return [Judged(entry, "hung", LIMIT) for entry in entries]
        seconds = (time.perf_counter() - started) / len(entries)
        written = json.loads(report.read_text()) if report.exists() else None
    if written is None and len(entries) > 1:  # one of them ended it: which?
        return [found for entry in entries for found in judge([entry])]
    said = ran.stdout + ran.stderr
    return [judged(entry, ran.returncode, said, written, seconds) for entry in entries]


def with_files(entry: Entry) -> Entry:
    """The entry with the files that its wheel, or its models file, gives.

    Raises:
        NotHere: the wheel cannot be fetched.
    """
    if entry.exported:
        return replace(entry, artifact=str(exported(HERE / f"{entry.models}.py", entry.id)))
    if not entry.wheel:
        return entry
    source = fetched(entry.wheel, entry.file)
    return replace(entry, against=str(source), artifact=str(edited(source, entry.edit)))


def judged(entry: Entry, status: int, said: str, written: dict | None, seconds: float) -> Judged:
    """What a run said of an entry.

    Args:
        status: the run's exit status.
        said: what it wrote to the terminal.
        written: its results document, if there is one.
    """
    if written is None:
        words = [line for line in said.splitlines() if line.startswith("ERROR")]
        got = "refused" if status == 4 and words else "crashed"
        return Judged(entry, got, seconds, words=(words or said.splitlines() or [""])[-1])
    cases = [case for case in written["cases"] if not case["option"]]
    if entry.models or entry.pointer:
        cases = [case for case in cases if case["model"] == entry.id]
    rows = [row for case in cases for row in case["checks"]]
    red = [row for row in rows if row["outcome"] in ("failed", "error")]
    names = tuple(dict.fromkeys(row["name"] for row in red))
    reasons = [row["reason"] for row in red]
    told = tuple(dict.fromkeys(fault for row in red for fault in row["upstream"]))
    if not cases:
        told_of = [line for line in written["run"]["problems"] if f"'{entry.id}'" in line]
        return Judged(entry, "refused" if told_of else "nothing", seconds, words=" ".join(told_of))
    if any("internal error" in reason for reason in reasons):
        return Judged(entry, "internal error", seconds, names, reasons[0])
    if red:
        return Judged(entry, "red", seconds, names, reasons[0], told)
    lacking = {name: why for case in cases for name, why in case["missing"].items()}
    if not all(case["complete"] for case in cases):
        words = "; ".join(f"{name}: {why}" for name, why in lacking.items())
        return Judged(entry, "incomplete", seconds, words=words)
    return Judged(entry, "passed", seconds)


def absent(entry: Entry) -> list[str]:
    """The packages that the entry needs and this environment lacks."""
    return [name for name in entry.needs if importlib.util.find_spec(name) is None]


def main() -> int:
    """Judge all entries; 1 where a verdict is wrong."""
    parser = argparse.ArgumentParser(prog="make wild", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="ids, models files or origins")
    parser.add_argument("--alone", action="store_true", help="one run an entry: its own seconds")
    parser.add_argument(
        "--json", type=Path, default=DOCS / "wild.json", help="default: docs/wild.json"
    )
    chosen = parser.parse_args()
    only, known = set(chosen.only), read_entries()
    entries = [e for e in known if not only or only & {e.id, e.models, e.origin}]
    skipped = Counter(name for entry in entries for name in absent(entry))
    for name, count in skipped.items():
        print(f"{count} skipped: {name} is not installed")
    entries = [entry for entry in entries if not absent(entry)]
    groups = [[entry] for entry in entries] if chosen.alone else list(runs(entries))
    done: list[Judged] = []
    for group in groups:
        try:
            found = judge(group)
        except NotHere as why:
            print(f"skipped {group[0].id}: {why}")
            continue
        for one in found:
            done.append(one)
            mark = "ok   " if one.right else "WRONG"
            name = f"{one.entry.id} {one.entry.exporter}".strip()
            told = f"{' '.join(one.red)}  {one.words[:160]}" if not one.right else ""
            print(f"{mark} {name:50} {one.got:10} {one.seconds:5.0f} s  {told}", flush=True)
        write_table(known, done, chosen.json)
    right = sum(one.right for one in done)
    print(f"{right} of {len(done)} as they should be")
    return int(right < len(done))


if __name__ == "__main__":
    sys.exit(main())
