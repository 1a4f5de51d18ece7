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
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from studies.wild.entries import HERE, Entry, Judged, read_entries, runs
from studies.wild.verdict_table import DOCS, write_table
from studies.wild.wheel_files import WheelMissing, edited, exported, fetched

LIMIT = 900  # seconds of one run


def command(entries: Sequence[Entry], report: Path) -> list[str]:
    """What a user types for these entries."""
    first = entries[0]
    arguments = [sys.executable, "-m", "onnx_conformance", "run", "--provider=cpu", "-q"]
    arguments += [f"--report-json={report}", *first.args]
    if first.exporter:
        arguments += [f"--exporter={first.exporter}", "--opset=18"]
    for option in ("against", "artifact"):
        if getattr(first, option):
            arguments.append(f"--{option}={HERE / getattr(first, option)}")
    if first.models:
        arguments.append(f"--models-from={HERE / first.models}.py")
    if not first.against:
        arguments += [f"--model={entry.id}" for entry in entries]
    return arguments


def judge(entries: Sequence[Entry]) -> list[Judged]:
    """What one run says of each of its entries.

    Raises:
        WheelMissing: the wheel of an entry cannot be fetched.
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
        WheelMissing: the wheel cannot be fetched.
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
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        got = "refused" if status == 4 and errors else "crashed"
        return Judged(entry, got, seconds, reason=(errors or said.splitlines() or [""])[-1])
    cases = [case for case in written["cases"] if not case["option"]]
    if entry.models or entry.pointer:
        cases = [case for case in cases if case["model"] == entry.id]
    rows = [row for case in cases for row in case["checks"]]
    red = [row for row in rows if row["outcome"] in ("failed", "error")]
    names = tuple(dict.fromkeys(row["name"] for row in red))
    reasons = [row["reason"] for row in red]
    upstream = tuple(dict.fromkeys(fault for row in red for fault in row["upstream"]))
    if not cases:
        problems = [line for line in written["run"]["problems"] if f"'{entry.id}'" in line]
        got = "refused" if problems else "nothing"
        return Judged(entry, got, seconds, reason=" ".join(problems))
    if any("internal error" in reason for reason in reasons):
        return Judged(entry, "internal error", seconds, names, reasons[0])
    if red:
        return Judged(entry, "red", seconds, names, reasons[0], upstream)
    lacking = {name: why for case in cases for name, why in case["missing"].items()}
    if not all(case["complete"] for case in cases):
        reason = "; ".join(f"{name}: {why}" for name, why in lacking.items())
        return Judged(entry, "incomplete", seconds, reason=reason)
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
        except WheelMissing as error:
            print(f"skipped {group[0].id}: {error}")
            continue
        for one in found:
            done.append(one)
            mark = "ok   " if one.right else "WRONG"
            name = f"{one.entry.id} {one.entry.exporter}".strip()
            why = f"{' '.join(one.red)}  {one.reason[:160]}" if not one.right else ""
            print(f"{mark} {name:50} {one.got:10} {one.seconds:5.0f} s  {why}", flush=True)
        write_table(known, done, chosen.json)
    right = sum(one.right for one in done)
    print(f"{right} of {len(done)} as they should be")
    return int(right < len(done))


if __name__ == "__main__":
    sys.exit(main())
