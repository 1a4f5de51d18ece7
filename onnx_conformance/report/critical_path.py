"""The critical path of a run: the jobs of one case that must follow each other and take longest.

A case waits for the import of its framework, its model, its file, the references of its inputs, and
ONNX Runtime's answers; then it is checked. More processes share the other cases, and shorten none
of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core.documents import CaseEntry, ResultsDocument
from onnx_conformance.diagnose.messages import place_of

SHORTEST = 0.05  # seconds of a job that is worth its place in a line


@dataclass(frozen=True)
class CriticalPath:
    """A case and the seconds of its jobs, in their order."""

    case: str
    jobs: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """The seconds of all jobs."""
        return sum(self.jobs.values())

    def __str__(self) -> str:
        steps = [f"{name} {took:.1f}" for name, took in self.jobs.items() if took > SHORTEST]
        return f"{self.case}: {' → '.join(steps)} = {self.seconds:.1f} s"


def critical_path(document: ResultsDocument) -> CriticalPath | None:
    """The longest of all cases; None where none was judged in this run."""
    known = [case for case in document["cases"] if not case.get("resumed")]
    paths = [path_of(case, document["time"]["jobs"]) for case in known]
    return max(paths, key=lambda path: path.seconds, default=None)


def path_of(case: CaseEntry, jobs: Mapping[str, Mapping[str, float]]) -> CriticalPath:
    """The jobs of a case, as this run measured them: what was read from the cache took no time.

    A framework's worker exports and computes references one after the other, while ONNX Runtime
    answers; the checks need both.
    """

    def seconds(what: str, *stages: str) -> float:
        return sum(jobs.get(what, {}).get(stage, 0.0) for stage in stages)

    model, name = case["model"], case["id"]
    framework = MODELS[model].framework if model in MODELS else ""
    references = seconds(model, "native", "oracle")
    answers = seconds(name, "runtime")
    return CriticalPath(
        name,
        {
            "import": seconds(framework, "import"),
            "build": seconds(model, "build"),
            "export": seconds(name.removesuffix(f"-{place_of(case)}"), "export"),
            **({"answers": answers} if answers > references else {"references": references}),
            "checks": seconds(name, "checks"),
        },
    )
