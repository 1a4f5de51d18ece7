"""Probes of all providers, and which nodes of a file each one runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_conformance.catalog.exporters import EXTERNAL
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.case import ExternalCase
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.session.conformance_session import ConformanceSession
from onnx_conformance.session.probe import ProbeResult
from onnx_conformance.session.provider_sources import survey
from onnx_conformance.session.subject import Artifact
from onnx_conformance.session.worker_queue import Clock

LEVELS = ("disabled", "all")  # of graph optimisation: nodes as they are written, and as they run
Placement = dict[str, dict[str, int]]  # provider -> operator -> nodes


@dataclass(frozen=True)
class Taken:
    """What a provider's session of a file says.

    Args:
        written: placement of the nodes as they stand in the file; None where it cannot be opened.
        run: placement after ONNX Runtime's own optimisation.
        error: why it cannot be opened; empty if it can.
    """

    written: Placement | None
    run: Placement | None
    error: str = ""


def probe_all(limit: float) -> dict[str, ProbeResult]:
    """Whether each provider runs a node here, each tried in a process of its own."""
    return survey(PROVIDERS, limit)


def take_all(artifact: Artifact, names: Iterable[str], settings: Settings) -> dict[str, Taken]:
    """The nodes of a file that each provider runs, from sessions that were opened."""
    return {name: _take(artifact, name, settings) for name in names}


def external_case(path: Path, provider: str = "cpu") -> ExternalCase:
    """A file of no model that is known here, on a provider."""
    return ExternalCase("", EXTERNAL.name, None, provider, path=str(path), label=path.name)


def _take(artifact: Artifact, name: str, settings: Settings) -> Taken:
    try:
        written, run = (_placement(artifact, name, settings, level) for level in LEVELS)
    except ConformanceError as error:
        return Taken(None, None, " ".join(str(error).split()))
    return Taken(written, run)


def _placement(artifact: Artifact, name: str, settings: Settings, level: str) -> Placement:
    """The nodes that a session places, opened as the suite opens external artifacts."""
    own = replace(settings, graph_level=level)
    conformance_session = ConformanceSession(own, Store(own.cache_dir), Clock())
    try:
        return conformance_session.session(external_case(artifact.path, name), artifact).placement
    finally:
        conformance_session.close()
