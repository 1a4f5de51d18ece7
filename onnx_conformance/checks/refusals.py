"""Inputs that were not answered: what the runtime said, and what native refuses as well."""

from __future__ import annotations

import re
from collections.abc import Callable

from onnx_conformance.checks import reproduction
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.results import CheckResult, failed, not_applicable
from onnx_conformance.core.text import plain
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.subject import Answer, Subject

# How ONNX Runtime's Python binding, and a provider, begin the words of a refusal: the inputs were
# looked at and not taken. Whatever else went wrong happened while they were being computed.
REFUSAL = re.compile(r"InvalidArgument|INVALID_ARGUMENT|NotImplemented|NOT_IMPLEMENTED")

# How the sentences of :func:`unanswered` begin.
UNANSWERED = re.compile(
    r"the session (?:refused|failed on) the inputs: |the runtime's process ended on these inputs: "
)


def unanswered(answer: Answer) -> str:
    """Why there are no outputs, in words: a refusal, an error while running, or a crash."""
    error = " ".join(plain(answer.error or "").split())
    if answer.died:
        return f"the runtime's process ended on these inputs: {error}"
    if not error:
        return "the session gave no outputs, and no reason"
    if REFUSAL.search(error):
        return f"the session refused the inputs: {error}"
    return f"the session failed on the inputs: {error}"


def not_answered(
    name: str, answer: Answer, inputs: Inputs, label: str, place: str = ""
) -> CheckResult:
    """The failure of check ``name`` on inputs to which there are no outputs.

    Args:
        label: the words that describe the inputs.
        place: with which words the reason begins.
    """
    reason = f"{place}{unanswered(answer)}"
    return failed(name, reason, inputs=label, reproduction=reproduction.unanswered(inputs))


def unless_refused(
    subject: Subject, name: str, inputs: Inputs, judge: Callable[[Subject], CheckResult]
) -> CheckResult:
    """What ``judge`` says; not applicable where the native model itself refuses the inputs.

    Args:
        name: the check's.
        inputs: the inputs that it judges.

    Raises:
        StageFailure: native failed, and not because it refuses these inputs.
    """
    try:
        return judge(subject)
    except StageFailure as failure:
        refusal = subject.native_refusal(inputs) if failure.stage in ("native", "oracle") else None
        if refusal is None:
            raise
        return not_applicable(name, f"the native model refuses such inputs: {refusal}")
