"""A conversion: export, judge the very file that is kept, keep it or throw it away."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_conformance.cli.context import Desk, named_model, reason_of
from onnx_conformance.cli.staged_file import Staged, Unplaced, staged
from onnx_conformance.core.comparison import statistics, structure_problem
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import Case, ModelSpec
from onnx_conformance.core.tolerances import INT8
from onnx_conformance.inputs.families import ORDINARY, chosen
from onnx_conformance.inputs.recipes import Feed
from onnx_conformance.inputs.typical import typical_feeds
from onnx_conformance.session.cache_keys import environment
from onnx_conformance.session.known_failures import EXPORT, find
from onnx_conformance.session.live_subject import LiveSubject
from onnx_conformance.session.subject import Artifact

SCHEMA = 1
MEBIBYTE = 2**20
FEW = 9  # typical feeds


@dataclass(frozen=True)
class Wish:
    """What is wanted: a case's export at ``out``; judged first, unless ``validate`` is False."""

    case: Case
    out: Path
    validate: bool = True


@dataclass(frozen=True)
class Difference:
    """How far ONNX Runtime is from native on ordinary feeds: absolute, over all elements."""

    most: float
    mean: float


def convert(desk: Desk, wish: Wish) -> dict[str, Any]:
    """Do it; returns the conversion's report as plain data.

    ``validation_passed`` is None where nothing was validated, and ``output_path`` None where
    nothing was written.

    Raises:
        Unplaced: OUT cannot be written.
        CapabilityMissing: the framework is not installed.
    """
    started = time.perf_counter()
    report = _blank(desk, wish)
    try:
        artifact = desk.workbench.artifact(wish.case)
        with staged(artifact, wish.out) as ready:
            report.update(_facts(wish.case, ready.artifact))
            _judge(desk, wish, ready, report)
    except (CapabilityMissing, Unplaced):
        raise
    except ConformanceError as failure:
        if wish.validate:
            report["validation_passed"] = False
        report["error"] = _told(desk, wish, failure)
    report["seconds"] = round(time.perf_counter() - started, 3)
    return report


def weights_of(model: ModelSpec, settings: Settings) -> str:
    """Which weights the file holds, in words."""
    if model.trained:
        return "its own weights"
    return f"{settings.weights} weights" + (
        f" of seed {settings.seed}, never trained" if settings.weights == "calibrated" else ""
    )


def _judge(desk: Desk, wish: Wish, ready: Staged, report: dict[str, Any]) -> None:
    """Place what is valid, and say what was found.

    Raises:
        ConformanceError: why it is not valid.
    """
    subject = desk.subject(wish.case, ready.artifact)
    if wish.validate:
        certificate = desk.certificate(subject)
        difference = _difference(subject)
        report["max_difference"], report["mean_difference"] = difference.most, difference.mean
        if not certificate.proof:
            reasons = "; ".join([*certificate.known, *certificate.beyond]) or "nothing was compared"
            raise NotValid(f"not proved: {reasons}")
        report["validation_passed"] = True
        report["about"]["evidence"] = str(certificate)
        report["about"]["not_judged"] = _not_judged(subject)
    ready.place()
    report["output_path"] = str(wish.out)
    report["about"]["files"] = [file.name for file in ready.artifact.files]
    report["about"]["sha256"] = list(ready.artifact.sha256)


def _not_judged(subject: LiveSubject) -> list[str]:
    """What a certificate of an int8 file leaves open, where no data are known."""
    if subject.case.precision != INT8 or subject.model.task:
        return []
    return ["what int8 does to the accuracy is not judged; --evaluation-data=DIR gives samples"]


class NotValid(ConformanceError):
    """A conversion that is not proved the same function."""


def _difference(subject: LiveSubject) -> Difference:
    """The differences that users ask for; they inform, the verdict is the certificate's.

    Raises:
        NotValid: the session refuses a feed, or answers in another shape.
    """
    most, total, elements = 0.0, 0.0, 0
    for feed in _measured(subject):
        native, answer = subject.reference(feed).native, subject.run(feed)
        problem = answer.error or structure_problem(native, answer.outputs or {})
        if problem:
            raise NotValid(problem)
        found = statistics(native, answer.outputs or {})
        most = max(most, found.max_abs)
        total, elements = total + found.mean_abs * found.elements, elements + found.elements
    return Difference(most, total / max(elements, 1))


def _measured(subject: LiveSubject) -> list[Feed]:
    """The feeds of the differences: of int8, such as it was calibrated for."""
    if subject.case.precision == INT8:
        return typical_feeds(subject.model, subject.seed)[:FEW]
    return chosen(ORDINARY, subject.model, subject.seed)


def _told(desk: Desk, wish: Wish, failure: ConformanceError) -> str:
    """Why it is not valid, and what lies at OUT now."""
    known = find(list(desk.run.known_failures), wish.case, EXPORT)
    reason = reason_of(failure)
    if known is not None and known.explains(failure):
        reason += f" (known: {known})"
    left = "the older file there was left as it is" if wish.out.exists() else "there is no file"
    return f"{reason}; nothing was written to {wish.out}: {left}"


def _blank(desk: Desk, wish: Wish) -> dict[str, Any]:
    settings = desk.run.settings
    return {
        "schema": SCHEMA,
        "output_path": None,
        "file_size_mb": None,
        "opset_version": {"asked": wish.case.opset, "delivered": None},
        "nodes": None,
        "inputs": None,
        "outputs": None,
        "max_difference": None,
        "mean_difference": None,
        "validation_passed": None,
        "error": None,
        "seconds": None,
        "about": {
            "model": wish.case.model,
            "exporter": wish.case.route,
            "provider": wish.case.provider,
            "weights": weights_of(named_model(wish.case.model), settings),
            "differences": f"absolute, from native float32, on {_feeds(wish.case)}",
            "files": None,
            "sha256": None,
            "evidence": None,
            "not_judged": [],
        },
        "versions": environment()["versions"],
    }


def _feeds(case: Case) -> str:
    return "typical feeds" if case.precision == INT8 else f"the feeds {', '.join(ORDINARY)}"


def _facts(case: Case, artifact: Artifact) -> dict[str, Any]:
    facts = artifact.facts
    return {
        "file_size_mb": round(facts["bytes"] / MEBIBYTE, 3),
        "opset_version": {"asked": case.opset, "delivered": facts["opset"]},
        "nodes": sum(facts["nodes"].values()),
        "inputs": [_tensor(tensor) for tensor in facts["inputs"]],
        "outputs": [_tensor(tensor) for tensor in facts["outputs"]],
    }


def _tensor(tensor: dict[str, Any]) -> dict[str, Any]:
    return {key: tensor[key] for key in ("name", "dtype", "shape")}
