"""Known faults upstream that explain a red row, from ``upstream_faults.yaml``; none excuses it."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.evidence import ConformanceFailure
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.yaml_reader import YamlNode, is_specifier, read_yaml
from onnx_conformance.run.cache_keys import version
from onnx_conformance.run.known_failures import RUNTIME, operators_of, runtime_of
from onnx_conformance.run.subject import Subject

FILE = Path(__file__).with_name("upstream_faults.yaml")
_TEXTS = ("issue", "exporter", "provider", "opset", "says")
_LISTS = ("operators", "checks")
_MORE = (*_TEXTS, *_LISTS, "versions")
SHORTEST_TEXT = 20  # characters of what is told


@dataclass(frozen=True)
class UpstreamFault:
    """One entry; the keys are explained in the file. An empty key matches everything."""

    fault: str
    way_round: str
    says: str = ""
    operators: tuple[str, ...] = ()
    exporter: str = ""
    provider: str = ""
    opset: str = ""
    checks: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    issue: str = ""

    def explains(
        self, case: Case, check: str, text: str, operators: Container[str], opset: int
    ) -> bool:
        """Whether a failure looks like this fault.

        Args:
            text: the failure's message with its details.
            operators: those of the case's file; none where there is no file.
            opset: the file's; 0 where it is not known.
        """
        return (
            all(one in operators for one in self.operators)
            and (not self.exporter or fnmatchcase(case.exporter, self.exporter))
            and self.provider in ("", PROVIDERS[case.provider].ort_name)
            and (not self.opset or bool(opset and SpecifierSet(self.opset).contains(str(opset))))
            and (not self.checks or check in self.checks)
            and re.search(self.says, text) is not None
            and self._seen_in(case)
        )

    def _seen_in(self, case: Case) -> bool:
        found = {
            name: runtime_of(case) if name == RUNTIME else version(name) for name in self.versions
        }
        return all(
            there is not None
            and SpecifierSet(self.versions[name]).contains(str(there), prereleases=True)
            for name, there in found.items()
        )

    def __str__(self) -> str:
        link = f" ({self.issue})" if self.issue else ""
        seen = ", ".join(f"{name} {wanted}" for name, wanted in self.versions.items())
        versions = f" [seen with {seen}]" if seen else ""
        return f"known upstream: {self.fault}{link}{versions}; workaround: {self.way_round}"


def explanations(
    case: Case, check: str, text: str, operators: Container[str], opset: int | None = None
) -> tuple[str, ...]:
    """The lines that explain a failure; it stays what it is."""
    known = opset or case.opset or 0
    return tuple(
        str(one) for one in shipped_faults() if one.explains(case, check, text, operators, known)
    )


@lru_cache(maxsize=1)
def shipped_faults() -> tuple[UpstreamFault, ...]:
    """The entries of the suite's own file."""
    return load_upstream_faults(FILE)


def load_upstream_faults(path: Path) -> tuple[UpstreamFault, ...]:
    """The entries of a file.

    Raises:
        UsageError: it is malformed; names the line and the key.
    """
    return tuple(_entry(entry) for entry in read_yaml(path).entries())


def _entry(entry: YamlNode) -> UpstreamFault:
    found = entry.keys(("fault", "way_round"), _MORE)
    fields: dict[str, Any] = {key: found[key].text(0) for key in _TEXTS if key in found}
    fields |= {key: found[key].texts() for key in _LISTS if key in found}
    if "versions" in found:
        fields["versions"] = found["versions"].specifiers()
    fault = UpstreamFault(
        found["fault"].text(SHORTEST_TEXT), found["way_round"].text(SHORTEST_TEXT), **fields
    )
    if not (fault.says or fault.operators):
        entry.fail("give 'says' or 'operators', which say which failures the entry is about")
    for name in fault.checks:
        if name not in CHECKS:
            found["checks"].fail(f"unknown check '{name}'; known: {', '.join(CHECKS)}")
    if not is_specifier(fault.opset):
        found["opset"].fail(f"'opset' must be a specifier, such as '<16', not '{fault.opset}'")
    try:
        re.compile(fault.says)
    except re.error as error:
        found["says"].fail(f"'says' must be a regular expression: {error}")
    return fault


def explanations_of(subject: Subject, check: str, failure: ConformanceError) -> tuple[str, ...]:
    """The lines that explain the failure of a check on a case."""
    text = str(failure)
    if isinstance(failure, ConformanceFailure):
        text = "\n".join([failure.result.reason, *failure.result.details])
    opset = 0
    operators = operators_of(subject)
    if operators:
        opset = int(subject.artifact.facts.get("opset") or 0)
    return explanations(subject.case, check, text, operators, opset)
