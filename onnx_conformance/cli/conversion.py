"""A conversion: export, judge the file that is to be kept, and keep it if it passes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnx_conformance.cli.context import ToolContext, named_model, reason_of
from onnx_conformance.cli.staged_file import StagedFile, UnwritablePlace, staged
from onnx_conformance.core.case import Case
from onnx_conformance.core.comparison import statistics, structure_problem
from onnx_conformance.core.documents import TensorFacts
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import INT8
from onnx_conformance.inputs.families import ORDINARY_RECIPES, pinned_inputs
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.samples import typical_inputs
from onnx_conformance.run.cache_keys import environment
from onnx_conformance.run.known_failures import EXPORT, find_known_failure
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.subject import Artifact

SCHEMA = 1
MEBIBYTE = 2**20
TYPICAL_INPUTS = 9  # typical inputs


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


@dataclass(frozen=True)
class OpsetVersion:
    """The opset that was asked for, and the one that the file has."""

    asked: int | None
    delivered: int | None = None


@dataclass
class AboutConversion:
    """Whence a file comes, and on what its verdict rests.

    Args:
        differences: between what, and on which inputs.
        files, sha256: of what was written; the graph first, then its data.
        evidence: the certificate in words; None where nothing was judged.
        not_judged: what the certificate leaves open.
    """

    model: str
    exporter: str
    provider: str
    weights: str
    differences: str
    files: list[str] | None = None
    sha256: list[str] | None = None
    evidence: str | None = None
    not_judged: list[str] = field(default_factory=list)


@dataclass
class ConversionReport:
    """What ``conversion_report.json`` holds; what was not reached is None.

    Args:
        output_path: None where nothing was written.
        file_size_mb: of the file with its data, in MiB.
        max_difference, mean_difference: see :class:`Difference`.
        validation_passed: None where nothing was validated.
        error: why it is not valid, and what lies at OUT now.
    """

    about: AboutConversion
    opset_version: OpsetVersion
    versions: dict[str, str]
    output_path: str | None = None
    file_size_mb: float | None = None
    nodes: int | None = None
    inputs: list[TensorFacts] | None = None
    outputs: list[TensorFacts] | None = None
    max_difference: float | None = None
    mean_difference: float | None = None
    validation_passed: bool | None = None
    error: str | None = None
    seconds: float | None = None
    schema: int = SCHEMA


def convert(context: ToolContext, request: ConversionRequest) -> ConversionReport:
    """Export, judge and place a file.

    Raises:
        UnwritablePlace: OUT cannot be written.
        CapabilityMissing: the framework is not installed.
    """
    started, report = time.perf_counter(), _begin(context, request)
    try:
        artifact = context.workers.artifact(request.case)
        with staged(artifact, request.out) as ready:
            _describe(report, ready.artifact)
            _judge(context, request, ready, report)
    except (CapabilityMissing, UnwritablePlace):
        raise
    except ConformanceError as failure:
        if request.validate:
            report.validation_passed = False
        report.error = _error(context, request, failure)
    report.seconds = round(time.perf_counter() - started, 3)
    return report


def weights_of(model: ModelSpec, settings: Settings) -> str:
    """Which weights the file holds, in words."""
    if model.trained:
        return "its own weights"
    return f"{settings.weights} weights" + (
        f" of seed {settings.seed}, never trained" if settings.weights == "calibrated" else ""
    )


def _judge(
    context: ToolContext, request: ConversionRequest, ready: StagedFile, report: ConversionReport
) -> None:
    """Place what is valid, and say what was found.

    Raises:
        ConformanceError: why it is not valid.
    """
    subject, about = context.subject(request.case, ready.artifact), report.about
    if request.validate:
        certificate = context.certificate(subject)
        difference = _difference(subject)
        report.max_difference, report.mean_difference = difference.most, difference.mean
        if not certificate.proof:
            reasons = (
                "; ".join([*certificate.known, *certificate.known_edge]) or "nothing was compared"
            )
            raise InvalidConversion(f"did not pass every check: {reasons}")
        report.validation_passed = True
        about.evidence, about.not_judged = str(certificate), _not_judged(subject)
    ready.place()
    report.output_path = str(request.out)
    about.files = [file.name for file in ready.artifact.files]
    about.sha256 = list(ready.artifact.sha256)


def _not_judged(subject: LiveSubject) -> list[str]:
    """What a certificate of an int8 file leaves open, where no data are known."""
    if subject.case.precision != INT8 or subject.model.task:
        return []
    return ["the accuracy of int8 is not judged without samples; --evaluation-data=DIR gives them"]


class InvalidConversion(ConformanceError):
    """A conversion that did not pass every check."""


def _difference(subject: LiveSubject) -> Difference:
    """The differences that users ask for; they inform, the verdict is the certificate's.

    Raises:
        InvalidConversion: the session refuses inputs, or answers in another shape.
    """
    most, total, elements = 0.0, 0.0, 0
    for inputs in _measured(subject):
        native, answer = subject.reference(inputs).native, subject.run(inputs)
        problem = answer.error or structure_problem(native, answer.outputs or {})
        if problem:
            raise InvalidConversion(problem)
        found = statistics(native, answer.outputs or {})
        most = max(most, found.max_abs)
        total, elements = total + found.mean_abs * found.elements, elements + found.elements
    return Difference(most, total / max(elements, 1))


def _measured(subject: LiveSubject) -> list[Inputs]:
    """The inputs of the differences: of int8, such as it was calibrated for."""
    if subject.case.precision == INT8:
        return typical_inputs(subject.model, subject.seed)[:TYPICAL_INPUTS]
    return pinned_inputs(ORDINARY_RECIPES, subject.model, subject.seed)


def _error(context: ToolContext, request: ConversionRequest, failure: ConformanceError) -> str:
    """Why it is not valid, and what lies at OUT now."""
    known = find_known_failure(list(context.run.known_failures), request.case, EXPORT)
    reason = reason_of(failure)
    if known is not None and known.explains(failure):
        reason += f" (known: {known})"
    left = "the older file stays as it was" if request.out.exists() else "there is no file"
    return f"{reason}; nothing was written to {request.out}: {left}"


def _begin(context: ToolContext, request: ConversionRequest) -> ConversionReport:
    case = request.case
    weights = weights_of(named_model(case.model), context.run.settings)
    measured = f"the inputs {', '.join(ORDINARY_RECIPES)}"
    on = "typical inputs" if case.precision == INT8 else measured
    differences = f"absolute, from native float32, on {on}"
    about = AboutConversion(case.model, case.route, case.provider, weights, differences)
    return ConversionReport(about, OpsetVersion(case.opset), environment()["versions"])


def _describe(report: ConversionReport, artifact: Artifact) -> None:
    facts = artifact.facts
    report.file_size_mb = round(facts["bytes"] / MEBIBYTE, 3)
    report.opset_version = replace(report.opset_version, delivered=facts["opset"])
    report.nodes = sum(facts["nodes"].values())
    report.inputs = [_tensor(tensor) for tensor in facts["inputs"]]
    report.outputs = [_tensor(tensor) for tensor in facts["outputs"]]


def _tensor(tensor: TensorFacts) -> TensorFacts:
    return {"name": tensor["name"], "dtype": tensor["dtype"], "shape": tensor["shape"]}
