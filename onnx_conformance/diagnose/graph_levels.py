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
    call = subject.layout.calls(inputs)[0]
    for level in LEVELS:
        answer = subject.conformance_session.answer_at_level(
            subject.case, subject.artifact, call, level
        )
        outputs = answer.get("outputs")
        ours = None if outputs is None else subject.layout.rows(inputs, [outputs])
        if wrong_outputs(subject, inputs, ours):
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
