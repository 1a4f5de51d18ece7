"""A conversion: export, judge the file that is to be kept, and keep it if it passes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_conformance.cli.context import ToolContext, named_model, reason_of
from onnx_conformance.cli.staged_file import Staged, Unplaced, staged
from onnx_conformance.core.case import Case
from onnx_conformance.core.comparison import statistics, structure_problem
from onnx_conformance.core.documents import TensorFacts
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import INT8
from onnx_conformance.inputs.families import ORDINARY, chosen
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.samples import typical_inputs
from onnx_conformance.session.cache_keys import environment
from onnx_conformance.session.known_failures import EXPORT, find
from onnx_conformance.session.live_subject import LiveSubject
from onnx_conformance.session.subject import Artifact

SCHEMA = 1
MEBIBYTE = 2**20
FEW = 9  # typical inputs


@dataclass(frozen=True)
class ConversionRequest:
    """What is wanted: a case's export at ``out``; judged first, unless ``validate`` is False."""

    case: Case
    out: Path
    validate: bool = True


@dataclass(frozen=True)
class Difference:
    """How far ONNX Runtime is from native on ordinary inputs: absolute, over all elements."""

    most: float
    mean: float


def convert(context: ToolContext, request: ConversionRequest) -> dict[str, Any]:
    """Do it; returns the conversion's report as plain data.

    ``validation_passed`` is None where nothing was validated, and ``output_path`` None where
    nothing was written.

    Raises:
        Unplaced: OUT cannot be written.
        CapabilityMissing: the framework is not installed.
    """
    started = time.perf_counter()
    report = _blank(context, request)
    try:
        artifact = context.conformance_session.artifact(request.case)
        with staged(artifact, request.out) as ready:
            report.update(_facts(request.case, ready.artifact))
            _judge(context, request, ready, report)
    except (CapabilityMissing, Unplaced):
        raise
    except ConformanceError as failure:
        if request.validate:
            report["validation_passed"] = False
        report["error"] = _told(context, request, failure)
    report["seconds"] = round(time.perf_counter() - started, 3)
    return report


def weights_of(model: ModelSpec, settings: Settings) -> str:
    """Which weights the file holds, in words."""
    if model.trained:
        return "its own weights"
    return f"{settings.weights} weights" + (
        f" of seed {settings.seed}, never trained" if settings.weights == "calibrated" else ""
    )


def _judge(
    context: ToolContext, request: ConversionRequest, ready: Staged, report: dict[str, Any]
) -> None:
    """Place what is valid, and say what was found.

    Raises:
        ConformanceError: why it is not valid.
    """
    subject = context.subject(request.case, ready.artifact)
    if request.validate:
        certificate = context.certificate(subject)
        difference = _difference(subject)
        report["max_difference"], report["mean_difference"] = difference.most, difference.mean
        if not certificate.proof:
            reasons = (
                "; ".join([*certificate.known, *certificate.known_edge]) or "nothing was compared"
            )
            raise NotValid(f"did not pass every check: {reasons}")
        report["validation_passed"] = True
        report["about"]["evidence"] = str(certificate)
        report["about"]["not_judged"] = _not_judged(subject)
    ready.place()
    report["output_path"] = str(request.out)
    report["about"]["files"] = [file.name for file in ready.artifact.files]
    report["about"]["sha256"] = list(ready.artifact.sha256)


def _not_judged(subject: LiveSubject) -> list[str]:
    """What a certificate of an int8 file leaves open, where no data are known."""
    if subject.case.precision != INT8 or subject.model.task:
        return []
    return ["the accuracy of int8 is not judged without samples; --evaluation-data=DIR gives them"]


class NotValid(ConformanceError):
    """A conversion that did not pass every check."""


def _difference(subject: LiveSubject) -> Difference:
    """The differences that users ask for; they inform, the verdict is the certificate's.

    Raises:
        NotValid: the session refuses inputs, or answers in another shape.
    """
    most, total, elements = 0.0, 0.0, 0
    for inputs in _measured(subject):
        native, answer = subject.reference(inputs).native, subject.run(inputs)
        problem = answer.error or structure_problem(native, answer.outputs or {})
        if problem:
            raise NotValid(problem)
        found = statistics(native, answer.outputs or {})
        most = max(most, found.max_abs)
        total, elements = total + found.mean_abs * found.elements, elements + found.elements
    return Difference(most, total / max(elements, 1))


def _measured(subject: LiveSubject) -> list[Inputs]:
    """The inputs of the differences: of int8, such as it was calibrated for."""
    if subject.case.precision == INT8:
        return typical_inputs(subject.model, subject.seed)[:FEW]
    return chosen(ORDINARY, subject.model, subject.seed)


def _told(context: ToolContext, request: ConversionRequest, failure: ConformanceError) -> str:
    """Why it is not valid, and what lies at OUT now."""
    known = find(list(context.run.known_failures), request.case, EXPORT)
    reason = reason_of(failure)
    if known is not None and known.explains(failure):
        reason += f" (known: {known})"
    left = "the older file stays as it was" if request.out.exists() else "there is no file"
    return f"{reason}; nothing was written to {request.out}: {left}"


def _blank(context: ToolContext, request: ConversionRequest) -> dict[str, Any]:
    settings = context.run.settings
    return {
        "schema": SCHEMA,
        "output_path": None,
        "file_size_mb": None,
        "opset_version": {"asked": request.case.opset, "delivered": None},
        "nodes": None,
        "inputs": None,
        "outputs": None,
        "max_difference": None,
        "mean_difference": None,
        "validation_passed": None,
        "error": None,
        "seconds": None,
        "about": {
            "model": request.case.model,
            "exporter": request.case.route,
            "provider": request.case.provider,
            "weights": weights_of(named_model(request.case.model), settings),
            "differences": f"absolute, from native float32, on {_input_sets(request.case)}",
            "files": None,
            "sha256": None,
            "evidence": None,
            "not_judged": [],
        },
        "versions": environment()["versions"],
    }


def _input_sets(case: Case) -> str:
    return "typical inputs" if case.precision == INT8 else f"the inputs {', '.join(ORDINARY)}"


def _facts(case: Case, artifact: Artifact) -> dict[str, Any]:
    facts = artifact.facts
    return {
        "file_size_mb": round(facts["bytes"] / MEBIBYTE, 3),
        "opset_version": {"asked": case.opset, "delivered": facts["opset"]},
        "nodes": sum(facts["nodes"].values()),
        "inputs": [_tensor(tensor) for tensor in facts["inputs"]],
        "outputs": [_tensor(tensor) for tensor in facts["outputs"]],
    }


def _tensor(tensor: TensorFacts) -> TensorFacts:
    return {"name": tensor["name"], "dtype": tensor["dtype"], "shape": tensor["shape"]}
