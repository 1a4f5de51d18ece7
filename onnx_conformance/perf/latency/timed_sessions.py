"""Seats: which host a rival is timed in, and what it was like to get there.

Native's forms share their framework's host, where they take turns anyway. A session has a host
of its own, so that its memory is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.settings import level_of
from onnx_conformance.core.spec import Case, ModelSpec
from onnx_conformance.inputs.recipes import Feed
from onnx_conformance.perf.latency.certification import NoResult
from onnx_conformance.perf.latency.contenders import ON_CUDA, Rival
from onnx_conformance.perf.latency.suspended_worker import Host
from onnx_conformance.perf.latency.timed_inputs import in_its_names
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.session.conformance_session import Workbench
from onnx_conformance.session.runtime import session_request
from onnx_conformance.session.subject import Artifact, libraries_of


@dataclass(frozen=True)
class Seat:
    """A host, and how the rival is asked for there.

    Args:
        what: the arguments of the host's ``rehearse`` beside form and feed.
        feed: our feed under the names that the rival knows.
        name: the rival's name of an output to ours.
        facts: what is known before the first call: memory, placement, seconds to open.
    """

    host: Host
    what: dict[str, Any]
    feed: Callable[[Feed], Feed] = lambda feed: feed
    name: Callable[[str], str] = str
    facts: dict[str, Any] = field(default_factory=dict)


class Seats:
    """One for a session. Hosts live as long as their model is timed."""

    def __init__(self, run: PerfRun, workbench: Workbench) -> None:
        self._run = run
        self._workbench = workbench
        self._native: dict[str, Host] = {}
        self._sessions: dict[Case, Seat] = {}

    def of(self, model: ModelSpec, rival: Rival) -> Seat:
        """The seat of a rival; a session is opened when it first sits down."""
        if rival.case is None:
            return self._native_seat(model, rival.form)
        if rival.case not in self._sessions:
            self._sessions[rival.case] = self._session_seat(rival.case)
        return self._sessions[rival.case]

    def leave(self, model: ModelSpec) -> None:
        """End the sessions of other models and the other framework's host."""
        for case in [case for case in self._sessions if case.model != model.name]:
            self._sessions.pop(case).host.close()
        for framework in [name for name in self._native if name != model.framework]:
            self._native.pop(framework).close()

    def close(self) -> None:
        """End every host."""
        for host in [*self._native.values(), *(seat.host for seat in self._sessions.values())]:
            host.close()

    def _native_seat(self, model: ModelSpec, form: str) -> Seat:
        if model.framework not in self._native:
            self._native[model.framework] = self._host(model.framework)
        host = self._native[model.framework]
        memory = host.call("memory", reset=True)
        device = "cuda" if form in ON_CUDA.values() else "cpu"
        return Seat(
            host,
            self._workbench.native_request(model),
            facts={
                "memory_before_mib": memory["resident"],
                "placement": {f"{model.framework} on {device}": "the whole model"},
            },
        )

    def _session_seat(self, case: Case) -> Seat:
        artifact = self._workbench.artifact(case)
        settings = self._run.settings
        host = self._host("onnxruntime", PROVIDERS[case.provider].process())
        libraries = libraries_of(case, settings)
        seat = open_seat(host, case, artifact, level_of(case, settings), libraries)
        seat.facts["graph_level"] = case.graph_level or settings.graph_level
        return seat

    def _host(self, kind: str, spec: str | None = None) -> Host:
        settings = self._run.settings
        return Host(
            kind,
            threads=settings.threads,
            cpus=self._run.timing.cpus,
            limit=settings.limit,
            spec=spec,
        )


def open_seat(
    host: Host, case: Case, artifact: Artifact, level: str, libraries: list[str] | None = None
) -> Seat:
    """Open a case's session in a fresh host.

    Args:
        level: ONNX Runtime's name of the graph optimization level.
        libraries: with custom operators, as ``custom_op_libraries`` of a session.

    Raises:
        NoResult: the session placed no node on the case's provider.
    """
    session = session_request(case, artifact, level)
    session["custom_op_libraries"] = libraries or []
    before = host.call("memory", reset=True)["resident"]
    info = host.call("open", session=session)
    provider = PROVIDERS[case.provider].ort_name
    if not info["placement"].get(provider):
        host.close()
        raise NoResult(f"{case.id}: {provider} took no node, so nothing of it would be timed")
    feed, name = in_its_names(case, artifact)
    facts = {
        "memory_before_mib": before,
        "load_seconds": info["seconds"],
        "placement": info["placement"],
        "artifact_bytes": artifact.facts["bytes"],
    }
    return Seat(host, {"session": session}, feed, name, facts)
