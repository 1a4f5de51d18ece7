"""The native module whose weights a node reads, and what the audit of the file says of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cached_property

from onnx_conformance.checks.audit.report import AuditReport
from onnx_conformance.checks.weights import audited, stored_weights
from onnx_conformance.core.artifact_graph import Node
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.session.live_subject import LiveSubject


class Ownership:
    """Asked late: many faults are found without it."""

    def __init__(self, audit: Callable[[], AuditReport]) -> None:
        self._audit = audit

    @cached_property
    def _report(self) -> AuditReport:
        return self._audit()

    @cached_property
    def _harmed(self) -> frozenset[str]:
        return frozenset(f.initializer for f in self._report.failures if f.initializer)

    @cached_property
    def _modules(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for finding in self._report.findings:
            if finding.initializer:
                found[finding.initializer].add(module_of(finding.native))
        return found

    def harms(self, node: Node) -> bool:
        """Whether it reads a weight that is native's, but not unharmed."""
        return not self._harmed.isdisjoint(node.constants)

    def modules(self, node: Node) -> set[str]:
        """Modules or layers whose unharmed weights it reads."""
        if self.harms(node):
            return set()
        return self.touched(node)

    def touched(self, node: Node) -> set[str]:
        """Modules or layers whose weights it reads, harmed or not."""
        return set().union(*(self._modules.get(name, set()) for name in node.constants))


def module_of(weight: str) -> str:
    """``layer1.conv`` of ``layer1.conv.weight`` (torch), ``Conv1`` of ``net/Conv1/kernel``."""
    if "/" in weight:
        return weight.rpartition("/")[0].rpartition("/")[2]
    return weight.rpartition(".")[0]


def ownership_of(subject: LiveSubject) -> Ownership:
    """That of the subject's artifact."""

    def audit() -> AuditReport:
        model = load_model(subject.artifact.path, weights=False)
        return audited(subject, model, stored_weights(subject, model))

    return Ownership(audit)
