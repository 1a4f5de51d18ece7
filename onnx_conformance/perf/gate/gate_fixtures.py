"""pytest fixtures of the gate's tests: the gated case and its figures."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.perf.gate.baseline import Baseline
from onnx_conformance.perf.gate.gate import Gate, Gated
from onnx_conformance.perf.gate.gate_text import speed_text
from onnx_conformance.perf.gate.outcomes import Undecided, Worse
from onnx_conformance.perf.run import PerfRun


@dataclass(frozen=True)
class GatedCase:
    """A case at a batch size, on the session's gate."""

    gate: Gate
    case: Case
    batch: int
    strict: bool

    def check_speed(self) -> str:
        """The verdict on speed in words.

        Raises:
            Worse: it is slower; Undecided: neither is shown.
        """
        found = self._found()
        words = speed_text(self.gate.plan, found)
        if found.decision.verdict == "slower":
            raise Worse(words)
        if found.decision.verdict == "undecided":
            raise Worse(words) if self.strict else Undecided(words)
        return words

    def check_figure(self, metric: str) -> str:
        """The verdict on another figure in words.

        Raises:
            Worse: it is red by its rule, or was not measured.
        """
        verdict = self._found().metrics[metric]
        if verdict.red:
            raise Worse(verdict.sentence)
        return verdict.sentence

    def _found(self) -> Gated:
        """Raises CapabilityMissing where the run leaves its framework out, and as ``gated``."""
        chosen, own = self.gate.frameworks, resolve_model(self.case.model).framework
        if chosen and own not in chosen:
            raise CapabilityMissing(f"{own}: left out by --framework {' '.join(chosen)}")
        return self.gate.gated(self.case, self.batch)


@dataclass(frozen=True)
class WholeGate:
    """The run as a whole against its baseline."""

    run: PerfRun
    baseline: Baseline | None

    def check_covered(self) -> None:
        """Every case of the baseline is gated, unless the run was narrowed by name.

        Raises:
            Worse: a case of the baseline has no candidate, or none of them has.
        """
        if self.baseline is None:
            return
        ids = {case.id for case in self.run.cases}
        kept = {name for name, case in self.baseline.cases.items() if not case.option}
        missing = sorted(kept - ids)
        if not kept & ids:
            raise Worse(
                f"no case of this run is in the baseline {self.baseline.folder}, which has "
                f"{', '.join(missing[:5])}"
            )
        if missing and self.run.selection.full:
            raise Worse(
                f"{len(missing)} cases of the baseline have no candidate: "
                f"{', '.join(missing[:5])}; if they were renamed or removed, keep the baseline "
                "anew with --save-onnx"
            )
