"""Known upstream failures, read from YAML: scope, reason and link; a stale entry fails."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from string import ascii_lowercase

from packaging.specifiers import SpecifierSet

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import CheckRow
from onnx_conformance.core.errors import ConformanceError, StageFailure
from onnx_conformance.core.yaml_reader import YamlNode, read_yaml
from onnx_conformance.run.cache_keys import version
from onnx_conformance.run.subject import Subject

EXPORT = "export"
RUNTIME = "runtime"
_KEYS = ("cases", "check", "says", "reason", "link", "versions")
_MORE = ("provider", "operators")
SHORTEST_TEXTS = {
    "says": 12,
    "reason": 20,
}  # characters, below which a text says nothing in particular
# Names that nobody gives: a glob that takes most of them takes any model by any exporter.
_ANY_NAMES = tuple(f"{letter}{place}qz" for place, letter in enumerate(ascii_lowercase))


@dataclass(frozen=True)
class KnownFailure:
    """One entry. ``check`` is a check's name, or ``export`` for a route that raises.

    ``says`` must stand in the failure's text: a case that fails otherwise is not known.
    ``versions`` are of packages here, and under ``runtime`` of ONNX Runtime where the case runs.
    ``provider`` is what ONNX Runtime calls the one that fails; a column may have any name.
    ``operators`` are those that fail: of files without any of them nothing is known. Whether one
    of a file's is met depends on the model, so such an entry is strict over a run and not over a
    case (:func:`operator_entry_problems`).
    """

    cases: str
    check: str
    says: str
    reason: str
    link: str
    versions: dict[str, str]
    provider: str = ""
    operators: tuple[str, ...] = ()

    def applies(self, case: Case, check: str) -> bool:
        """Whether it covers a check of a case; a failed export covers them all."""
        return self.covers(case) and self.check in (check, EXPORT)

    def explains(self, failure: ConformanceError) -> bool:
        """Whether this failure is the known one, not another."""
        in_export = isinstance(failure, StageFailure) and failure.stage == EXPORT
        return self.says in str(failure) and in_export == (self.check == EXPORT)

    def covers(self, case: Case) -> bool:
        """Whether the case is in scope."""
        wanted = SpecifierSet(self.versions.get(RUNTIME, ""))
        there = self.provider in ("", PROVIDERS[case.provider].ort_name)
        return there and self.names(case) and wanted.contains(runtime_of(case), prereleases=True)

    def names(self, case: Case) -> bool:
        """Whether the case's name is in scope, whatever runs it."""
        return fnmatchcase(case.id, self.cases)

    def concerns(self, nodes: Container[str]) -> bool:
        """Whether a file of such operators can fail so."""
        return not self.operators or any(operator in nodes for operator in self.operators)

    @property
    def current(self) -> bool:
        """Whether the installed versions are among those in which it was seen."""
        return all(
            version(package) is not None and SpecifierSet(wanted).contains(str(version(package)))
            for package, wanted in self.versions.items()
            if package != RUNTIME
        )

    def __str__(self) -> str:
        return f"{self.reason} ({self.link})"


def runtime_of(case: Case) -> str:
    """ONNX Runtime's version where the case runs: in another environment, or here."""
    here = next(filter(None, map(version, ("onnxruntime-gpu", "onnxruntime"))), "0")
    return PROVIDERS[case.provider].runtime or here


def load_known_failures(path: Path, checks: Iterable[str]) -> list[KnownFailure]:
    """The entries that apply to the installed versions.

    Args:
        checks: the names of the checks that an entry may be about.

    Raises:
        UsageError: a malformed file, naming the line and the key.
    """
    names = (*checks, EXPORT)
    known = [_entry(entry, names) for entry in read_yaml(path).entries()]
    return [failure for failure in known if failure.current]


def _entry(entry: YamlNode, checks: tuple[str, ...]) -> KnownFailure:
    found = entry.keys(_KEYS, _MORE)
    failure = KnownFailure(
        cases=found["cases"].text(),
        check=found["check"].choice(checks),
        says=found["says"].text(least=SHORTEST_TEXTS["says"]),
        reason=found["reason"].text(least=SHORTEST_TEXTS["reason"]),
        link=found["link"].link(),
        versions=found["versions"].specifiers(),
        provider=found["provider"].text(0) if "provider" in found else "",
        operators=found["operators"].texts() if "operators" in found else (),
    )
    narrowed = failure.provider and failure.operators
    if takes_everything(failure.cases) and not narrowed:
        found["cases"].fail(
            f"'cases' ({failure.cases}) matches every model by every exporter; name a model or an "
            "exporter in it, or give both 'provider' and 'operators'"
        )
    if failure.operators and "<" not in failure.versions.get(RUNTIME, ""):
        found["versions"].fail(
            f"an entry with 'operators' must end with a version: versions: {{{RUNTIME}: '<=…'}}"
        )
    return failure


def takes_everything(glob: str) -> bool:
    """Whether a glob on case ids matches any model by any exporter.

    It is tried on cases whose models and exporters have names that nobody gives.
    """
    ends = [f"-opset{opset}-{name}" for opset in (14, 18, 23) for name in PROVIDERS]
    ends += [f"-opset{opset}-cpu" for opset in range(7, 31)] + [f"-{name}" for name in PROVIDERS]
    half = len(_ANY_NAMES) // 2
    return any(
        sum(fnmatchcase(f"{name}-{name[::-1]}{end}", glob) for name in _ANY_NAMES) >= half
        for end in ends
    )


def operators_of(subject: Subject) -> Mapping[str, int]:
    """The operators of a case's file; none where the file could not be made."""
    try:
        found: Mapping[str, int] = subject.artifact.facts.get("nodes", {})
    except ConformanceError:
        return {}
    return found


def operator_entry_problems(
    known: Iterable[KnownFailure],
    rows: Mapping[Case, Sequence[CheckRow]],
    nodes: Mapping[Case, Container[str]],
) -> dict[str, str]:
    """What is wrong with each entry on operators that was tried, by the entry's text.

    Empty for one that explained a failure; a sentence for one that explained none, though cases
    with its operators passed.

    Args:
        rows: of each case, what its checks ended with.
        nodes: the operators of each case's file.
    """
    problems = {}
    for entry in known:
        if not entry.operators:
            continue
        ended = [
            row["outcome"]
            for case in rows
            if entry.covers(case) and entry.concerns(nodes.get(case, ()))
            for row in rows[case]
            if row["name"] == entry.check
        ]
        edge_explained = any(
            row["name"] == entry.check and row["outcome"] == "edge" and str(entry) in row["reason"]
            for case in rows
            for row in rows[case]
        )
        if "known_failure" in ended or edge_explained:
            problems[str(entry)] = ""
        elif "passed" in ended:
            problems[str(entry)] = (
                f"A known failure explains nothing: {entry}; {ended.count('passed')} tests of "
                f"'{entry.check}' passed where a file has {' or '.join(entry.operators)}. If it is "
                "fixed, remove the entry; else narrow it."
            )
    return problems


def find_known_failure(
    known: Iterable[KnownFailure], case: Case, check: str, nodes: Container[str] = ()
) -> KnownFailure | None:
    """The first entry that covers a check of a case.

    Args:
        nodes: the operators of its file; while they are not known, entries on operators are not
            looked at.
    """
    return next(
        (each for each in known if each.applies(case, check) and each.concerns(nodes)), None
    )
