"""The check placement: the session loaded this file, and the case's provider ran its nodes."""

from __future__ import annotations

import os

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.registry import register_check
from onnx_conformance.core.graph_weights import constant_outputs
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.results import CheckResult, failed, not_applicable, passed
from onnx_conformance.run.subject import SessionInfo, Subject


@register_check(control="provider_ran_nothing")
def check_placement(subject: Subject) -> CheckResult:
    """The session loaded this very file, and the case's provider runs enough of its nodes.

    Enough is one node, or the share that ``--min-placement`` requires. An environment variable that
    overrides the precision of the case fails, because the session then computes another case.
    """
    session, provider = subject.session, PROVIDERS[subject.case.provider]
    if session.sha256 != subject.artifact.sha256:
        loaded, exported = (
            ", ".join(digest[:12] for digest in digests)
            for digests in (session.sha256, subject.artifact.sha256)
        )
        return failed(
            f"the session loaded files of digest {loaded}; the artifact's are {exported}",
        )
    nodes = session.nodes(provider.ort_name)
    if not any(session.placement.values()) and _folds_away(subject):
        reason = "the answer is a constant, which ONNX Runtime folds: no node is left to run"
        return not_applicable(reason)
    if nodes == 0:
        ran = ", ".join(session.placement) or "nothing"
        return failed(f"{provider.ort_name} ran no node; what ran: {ran}")
    # of other machines it is asked where their answers are read
    overrides = provider.overridden(os.environ) if provider.here else []
    if overrides:
        return failed("; ".join(overrides), compared=nodes)
    placement, share = describe_placement(subject), session.share_of_nodes
    if share < subject.min_placement:
        asked = f"at least {100 * subject.min_placement:.3g} % are required (--min-placement)"
        reason = f"{provider.ort_name} ran {_percent(share)} of the nodes, and {asked}: {placement}"
        return failed(reason, compared=nodes)
    return passed(placement, compared=nodes)


def _folds_away(subject: Subject) -> bool:
    """Whether no number of an input reaches an answer."""
    model = load_model(subject.artifact.path, weights=False)
    return len(constant_outputs(model)) == len(model.graph.output)


def describe_placement(subject: Subject) -> str:
    """``CPUExecutionProvider 121 nodes``; what fell back names its operators, and its cost.

    ``CUDAExecutionProvider 118 nodes (97.5 %, 99.2 % of the time), CPUExecutionProvider 3 nodes
    (Gather 1, Shape 2)``.
    """
    session, parts = subject.session, []
    for provider, operators in session.placement.items():
        about = _shares(session) if provider == session.provider else _operators(operators)
        parts.append(f"{provider} {sum(operators.values())} nodes{about}")
    return ", ".join(parts)


def _shares(session: SessionInfo) -> str:
    """What the provider runs of a session that it shares with others; nothing of a whole one."""
    if session.share_of_nodes == 1.0:
        return ""
    parts, work = [_percent(session.share_of_nodes)], session.share_of_work
    if work is not None:
        parts.append(f"{_percent(work)} of the time")
    elif session.work is not None:
        parts.append(f"time not measured: {session.work.unknown}")
    return f" ({', '.join(parts)})"


def _operators(operators: dict[str, int]) -> str:
    return f" ({', '.join(f'{name} {operators[name]}' for name in sorted(operators))})"


def _percent(share: float) -> str:
    """Rounded down, so that a share below all is never shown as all."""
    return f"{int(1000 * share) / 10:.3g} %"
