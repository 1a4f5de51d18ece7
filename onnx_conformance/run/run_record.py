"""A run: its settings, cases, tolerances and known failures, as decided before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnx_conformance.core.case import Case
from onnx_conformance.core.settings import Localizing, Settings
from onnx_conformance.core.tolerances import Tolerances
from onnx_conformance.run.known_failures import KnownFailure
from onnx_conformance.run.selection import Selection
from onnx_conformance.run.shards import Shard


@dataclass(frozen=True)
class Run:
    """The settings, cases and rules of a run, fixed before the first test."""

    settings: Settings
    selection: Selection
    cases: tuple[Case, ...]
    tolerances: Tolerances
    known_failures: tuple[KnownFailure, ...]
    required: tuple[str, ...]
    models_from: tuple[str, ...]
    against: str
    notes: tuple[str, ...]
    refused: tuple[str, ...]  # a line each: the run goes on without these models, and is red
    frameworks: tuple[str, ...]
    images: tuple[Path, ...]
    temporary_cache: bool
    resume: bool
    cache_limit: int | None
    report_json: Path
    report_html: Path | None
    report_md: Path | None
    report_sarif: Path | None
    report_codequality: Path | None
    history: Path | None
    save_onnx: Path | None
    repro_dir: Path
    shard: Shard | None
    bundles: int
    localize: Localizing
