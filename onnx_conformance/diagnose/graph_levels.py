"""Whether a failure is the file's or that of ONNX Runtime's optimisation, level by level."""

from __future__ import annotations

from pathlib import Path

from onnx_conformance.core.errors import StageFailure
from onnx_conformance.diagnose.wrong_outputs import wrong_outputs
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.live_subject import LiveSubject

LEVELS = ("enable_basic", "enable_extended", "enable_layout", "enable_all")


def first_wrong(subject: LiveSubject, inputs: Inputs) -> str | None:
    """The lowest level at which the CPU provider's answer is over budget; None if none is."""
    for level in LEVELS:
        (answer,) = subject.conformance_session.answers(
            subject.case, [inputs], artifact=subject.artifact, level=level
        )
        if wrong_outputs(subject, inputs, answer.outputs):
            return level
    return None


def optimised_file(subject: LiveSubject, level: str, folder: Path) -> Path | None:
    """The graph as that level rewrites it; None where it cannot be written."""
    target = folder / f"{level}.onnx"
    try:
        subject.conformance_session.optimise(subject.case, subject.artifact.path, level, target)
    except StageFailure:
        return None
    return target if target.is_file() else None
