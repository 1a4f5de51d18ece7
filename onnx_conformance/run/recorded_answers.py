"""Answers that another machine gave to a kit: read, and refused where they are none to it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnx_conformance.core.errors import HostLost
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.plain_outputs import coded
from onnx_conformance.core.worker_messages import RunResult
from onnx_conformance.run.kit import SessionKey

FILES = KIT, LINES, OUTPUTS = "kit.json", "answers.txt", "outputs.bin"
ALIKE = 4  # so many inputs of one size; a model that answers all of them alike is not alive
Record = dict[str, Any]


class AnswersRefusedError(HostLost):
    """Recorded answers that are no answers to this kit: nothing rests on them."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"answers in {folder}", reason)


@dataclass
class Replayed:
    """One session as it was there.

    Args:
        opened: what it said of itself, or its ``error``.
        answers: inputs, as :func:`inputs_key` has them -> what was answered each time.
        profile: the file of ONNX Runtime's profile; None where there is none.
        fault: why its answers are none; empty if they may be judged.
    """

    opened: Record
    answers: dict[str, list[RunResult]] = field(default_factory=lambda: defaultdict(list))
    profile: Path | None = None
    fault: str = ""


class RecordedAnswers:
    """The answers of a folder, read and checked as a whole when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def kit(self) -> Record:
        """What was asked, as ``onnx-conformance kit`` wrote it.

        Raises:
            AnswersRefusedError: the answers were given to another kit.
        """
        named, found = self.header["kit"], file_digest(self._folder / KIT)
        if named != found:
            raise self._refused(
                f"they were given to another kit: {LINES} names the digest {named[:12]}, and {KIT} "
                f"beside it has {found[:12]}"
            )
        return dict(json.loads((self._folder / KIT).read_text(encoding="utf-8")))

    @cached_property
    def _lines(self) -> list[tuple[str, str]]:
        """Each line's chain and JSON."""
        lines = (self._folder / LINES).read_text(encoding="utf-8").splitlines()
        return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]

    @cached_property
    def header(self) -> Record:
        """What answered: kit, provider, versions, device, driver.

        Raises:
            AnswersRefusedError: the first line is none.
        """
        try:
            found = dict(json.loads(self._lines[0][1]))
            _ = found["kit"], found["provider"], found["versions"]["onnxruntime"]
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise self._refused(
                f"the first line of {LINES} tells no versions: {error!r}"
            ) from error
        return found

    @property
    def digest(self) -> str:
        """The chain's end, which tells these answers from all others."""
        return self._lines[-1][0] if self._lines else ""

    @cached_property
    def sessions(self) -> dict[SessionKey, Replayed]:
        """Every session of the kit with what was answered.

        Raises:
            AnswersRefusedError: the answers are of another kit, or were cut, repeated, reordered
                or changed.
        """
        answered, found = iter(self._answered()), {}
        for place, wanted in enumerate(self.kit["sessions"]):
            fed = [request["sha256"] for request in wanted["requests"]]
            items = [*fed, ""] if wanted["profile"] else fed
            opened, *rest = (self._next(answered, place, digest) for digest in ("", *items))
            session = Replayed(opened)
            for request, record in zip(wanted["requests"], rest, strict=False):
                session.answers[request_key(request)].append(_result(record))
            if wanted["profile"] and rest[-1].get("profile"):
                session.profile = self._folder / Path(rest[-1]["profile"]).name
            files = tuple((file["name"], file["sha256"]) for file in wanted["files"])
            session.fault = _other_file(opened, files) or _degenerate(wanted, session.answers)
            found[SessionKey(files, wanted["graph_level"], wanted["allow_cpu_fallback"])] = session
        if (last := next(answered, {})).get("end") is None:
            raise self._refused(f"{LINES} goes on behind the kit's last inputs: {str(last)[:60]}")
        return found

    def _next(self, answered: Iterator[Record], place: int, fed: str) -> Record:
        record = next(answered, {"end": 0})
        if "end" in record:
            raise self._refused(
                f"{LINES} ends before the kit does: start run.py there again, it goes on where it "
                "was, or copy the whole folder"
            )
        if record.get("session") != place or record.get("fed", fed) != fed:
            raise self._refused(
                f"line {record['line']} of {LINES} answers other inputs than stand there in the "
                "kit: its order is another one"
            )
        return record

    def _answered(self) -> Iterator[Record]:
        """The lines behind the header as data, with their outputs' bytes as ``data``."""
        chain, at = self.header["kit"], 0
        path = self._folder / OUTPUTS
        whole = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        for number, (digest, text) in enumerate(self._lines, 1):
            try:
                record = json.loads(text)
                size = sum(output["bytes"] for output in record.get("outputs", ()))
            except (KeyError, TypeError, ValueError) as error:
                raise self._refused(
                    f"line {number} of {LINES} cannot be read: {error!r}"
                ) from error
            data = whole[at : at + size]
            if len(data) < size:
                raise self._refused(
                    f"{OUTPUTS} ends before the outputs of line {number}: it was cut"
                )
            if (
                hashlib.sha256(chain.encode() + text.encode() + data.tobytes()).hexdigest()
                != digest
            ):
                raise self._refused(
                    f"line {number} of {LINES} does not follow from what stands before it and its "
                    "outputs: something was changed, repeated, reordered or left out"
                )
            chain, at = digest, at + size
            if number > 1:
                yield {**record, "line": number, "data": data}
        if at < len(whole) and self._lines[-1][1].startswith('{"end"'):
            raise self._refused(f"{OUTPUTS} holds more than the lines of {LINES} tell of")

    def _refused(self, reason: str) -> AnswersRefusedError:
        return AnswersRefusedError(self._folder, reason)


def request_key(request: Record) -> str:
    """Inputs of the kit as :func:`inputs_key` has them."""
    kinds = [(each["name"], each["dtype"], tuple(each["shape"])) for each in request["inputs"]]
    return f"{kinds} {request['sha256']}"


def _result(record: Record) -> RunResult:
    """An answer as the runtime worker gives it."""
    if "error" in record:
        ended: RunResult = {"error": str(record["error"])}
        return {**ended, "died": True} if record.get("died") else ended
    at, outputs = 0, {}
    for each in record["outputs"]:
        data = record["data"][at : at + each["bytes"]]
        outputs[each["name"]] = coded(data.view(each["dtype"]).reshape(each["shape"]))
        at += each["bytes"]
    return {"outputs": outputs, "seconds": float(record.get("seconds", 0.0))}


def _other_file(opened: Record, files: tuple[tuple[str, str], ...]) -> str:
    """What was loaded there, where it is not what the kit has; empty where it is."""
    wanted = [digest for _, digest in files]
    loaded = opened.get("sha256", wanted)
    if loaded == wanted:
        return ""
    digests = ", ".join(str(digest)[:12] for digest in loaded)
    return (
        f"another file was loaded there: {digests}, and the kit's {files[0][0]} is {wanted[0][:12]}"
    )


def _degenerate(wanted: Record, answers: Mapping[str, Sequence[RunResult]]) -> str:
    """What all answers of a session have in common that no model that is alive answers so."""
    by_shape: dict[str, dict[str, bytes]] = defaultdict(dict)
    for key, results in answers.items():
        outputs = results[0].get("outputs", {})
        floats = [array for array in outputs.values() if array.dtype.kind == "f" and array.size]
        if floats:
            kinds = key.rpartition(" ")[0]
            by_shape[kinds][key] = b"".join(array.tobytes() for array in floats)
    several = {kinds: found for kinds, found in by_shape.items() if len(found) >= ALIKE}
    if not several:
        return ""
    count = sum(len(found) for found in several.values())
    if not any(any(data) for found in several.values() for data in found.values()):
        return f"zeros are all that was answered to {count} different inputs"
    if all(len(set(found.values())) == 1 for found in several.values()):
        return f"one and the same answer was given to {count} different inputs"
    return ""
