"""Known faults upstream that explain a red row, from ``upstream_faults.yaml``; none excuses it."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.evidence import ConformanceFailure
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.core.errors import ConformanceError, UsageError
from onnx_conformance.core.spec import Case
from onnx_conformance.session.cache_keys import version
from onnx_conformance.session.known_failures import RUNTIME, operators_of, runtime_of
from onnx_conformance.session.subject import Subject

FILE = Path(__file__).with_name("upstream_faults.yaml")
_TEXTS = ("fault", "way_round", "issue", "exporter", "provider", "opset", "says")
_LISTS = ("operators", "checks")
LEAST = 20  # characters of what is told


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
        told = f" [seen with {seen}]" if seen else ""
        return f"known upstream: {self.fault}{link}{told}; way round: {self.way_round}"


def explanations(
    case: Case, check: str, text: str, operators: Container[str], opset: int = 0
) -> tuple[str, ...]:
    """The lines that explain a failure; it stays what it is."""
    opset = opset or case.opset
    return tuple(
        str(one) for one in shipped_faults() if one.explains(case, check, text, operators, opset)
    )


@lru_cache(maxsize=1)
def shipped_faults() -> tuple[UpstreamFault, ...]:
    """The entries of the suite's own file."""
    return load_upstream_faults(FILE)


def load_upstream_faults(path: Path) -> tuple[UpstreamFault, ...]:
    """The entries of a file.

    Raises:
        UsageError: it is malformed; names the entry and the key.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list):
        raise UsageError(f"{path}: must be a list of entries")
    return tuple(_entry(f"{path}, entry {n}", entry) for n, entry in enumerate(entries, start=1))


def _entry(where: str, entry: Any) -> UpstreamFault:
    known = {*_TEXTS, *_LISTS, "versions"}
    if not isinstance(entry, dict) or set(entry) - known:
        raise UsageError(f"{where}: must be a mapping with keys among {', '.join(sorted(known))}")
    _check_types(where, entry)
    for key in ("fault", "way_round"):
        if len(entry.get(key, "").strip()) < LEAST:
            raise UsageError(f"{where}: '{key}' must have {LEAST} characters or more")
    if not (entry.get("says") or entry.get("operators")):
        raise UsageError(f"{where}: 'says' or 'operators' must say which failures it is about")
    for name in entry.get("checks", []):
        if name not in CHECKS:
            raise UsageError(f"{where}: unknown check '{name}'; known: {', '.join(CHECKS)}")
    try:
        re.compile(entry.get("says", ""))
        for wanted in (entry.get("opset", ""), *entry.get("versions", {}).values()):
            SpecifierSet(wanted)
    except (re.error, InvalidSpecifier, AttributeError, TypeError) as error:
        raise UsageError(f"{where}: {error}") from error
    return UpstreamFault(**{**entry, **{key: tuple(entry.get(key, ())) for key in _LISTS}})


def _check_types(where: str, entry: dict[str, Any]) -> None:
    for key in _TEXTS:
        if not isinstance(entry.get(key, ""), str):
            raise UsageError(f"{where}: '{key}' must be a text")
    for key in _LISTS:
        value = entry.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise UsageError(f"{where}: '{key}' must be a list of names")


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
