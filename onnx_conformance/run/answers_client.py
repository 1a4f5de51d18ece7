"""The worker client that replays what another machine answered, as if it answered now.

A provider that is hosted by ``answers:FOLDER`` has it for a worker. It gives an answer only for the
files, the inputs and the number of times that were asked there.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.errors import CapabilityMissing, WorkerError
from onnx_conformance.core.session_profile import Profile, placed_nodes, read_profile
from onnx_conformance.core.worker_messages import RunResult
from onnx_conformance.run.kit import SessionKey, inputs_key
from onnx_conformance.run.recorded_answers import AnswersRefusedError, RecordedAnswers, Replayed

ANSWERS = "answers:"
Record = dict[str, Any]


class AnswersClient:
    """A worker client that replays; it starts no process.

    Args:
        seed: the run's; a kit of another one has other weights and other inputs.
    """

    def __init__(self, folder: Path, *, seed: int) -> None:
        self._answers = RecordedAnswers(folder)
        self._folder = folder
        self._seed = seed
        self._asked: Counter[tuple[SessionKey, str]] = Counter()

    def start(self, limit: float) -> None:
        """Read the recorded answers and check them."""
        made = self._answers.kit["seed"]
        if made != self._seed:
            raise AnswersRefusedError(
                self._folder,
                f"the kit was made with --seed {made} and this run has --seed {self._seed}",
            )
        header = self._answers.header
        if header["provider"] not in self._answers.kit["providers"]:
            problem = f"the kit knows no provider '{header['provider']}'"
            raise AnswersRefusedError(self._folder, problem)
        if overrides := PROVIDERS[header["provider"]].overridden(header.get("environment", {})):
            raise AnswersRefusedError(self._folder, f"there, {'; '.join(overrides)}")
        _ = self._answers.sessions

    def call(self, method: str, limit: float, **arguments: Any) -> Any:
        """``versions``, ``open``, ``run`` and ``profile``, as they were there.

        Raises:
            AnswersRefusedError: no answer of these may be judged.
            CapabilityMissing: it was not asked there, or answers cannot carry it.
        """
        self.start(limit)
        if method == "versions":
            return self._versions()
        if method not in ("open", "run", "profile"):
            raise CapabilityMissing("not applicable: answers were computed elsewhere")
        key = SessionKey.of(arguments["session"])
        session = self._session(key)
        if method == "open":
            return _opened(session)
        if method == "profile":
            return _profiled(session, int(arguments["warm"]))
        return [self._answer(key, session, inputs) for inputs in arguments["input_sets"]]

    def _versions(self) -> Record:
        header = self._answers.header
        provider = self._answers.kit["providers"][header["provider"]]["ort_name"]
        version = header["versions"]["onnxruntime"]
        return {"onnxruntime": version, "compiled_in": [provider], "packages": []}

    def _session(self, key: SessionKey) -> Replayed:
        session = self._answers.sessions.get(key)
        if session is None:
            name, digest = key.files[0]
            known = {sha for one in self._answers.sessions for _, sha in one.files}
            if known & {sha for _, sha in key.files[1:]}:  # an edited copy, beside the file
                raise CapabilityMissing(
                    "the kit does not have this edited copy of the file: the run that made it did "
                    "not ask for it"
                )
            raise AnswersRefusedError(
                self._folder,
                f"the kit has no {name} of digest {digest[:12]} at graph level {key.graph_level}: "
                "it was made of another export, model or option; make a new one with what this "
                "run asks for",
            )
        if session.fault:
            raise AnswersRefusedError(self._folder, session.fault)
        if "error" in session.opened:
            raise WorkerError("there", session.opened["error"])
        return session

    def _answer(self, key: SessionKey, session: Replayed, inputs: Any) -> RunResult:
        asked = inputs_key(inputs)
        known, number = session.answers.get(asked, ()), self._asked[key, asked]
        if number >= len(known):
            return {
                "missing": "the kit does not have these inputs, or not as often: the run that made "
                "it did not ask for them"
            }
        self._asked[key, asked] += 1
        return known[number]

    def reset(self) -> None:
        """Forget what was asked: answers are given from the start again."""
        self._asked.clear()

    def standard_error(self) -> str:
        """Empty: no process runs."""
        return ""

    def close(self) -> None:
        """Forget what was asked; there is no process to end."""
        self._asked.clear()


def _opened(session: Replayed) -> Record:
    inputs, outputs = session.opened["names"]
    placed = session.opened.get("placement") or {}
    if session.profile is not None:  # of some providers the session tells of a part of its nodes
        ran = placed_nodes(json.loads(session.profile.read_text(encoding="utf-8")))
        placed = max(placed, ran, key=_nodes)
    return {
        "sha256": session.opened["sha256"],
        "placement": placed,
        "inputs": [{"name": name} for name in inputs],
        "outputs": [{"name": name} for name in outputs],
        "seconds": float(session.opened.get("seconds", 0.0)),
    }


def _nodes(placement: dict[str, dict[str, int]]) -> int:
    return sum(sum(operators.values()) for operators in placement.values())


def _profiled(session: Replayed, warm: int) -> Profile:
    if session.profile is None:
        raise CapabilityMissing("nothing was profiled there")
    return read_profile(json.loads(session.profile.read_text(encoding="utf-8")), warm)
