"""The gate: each candidate beside its baseline, measured in one run, and its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import Placement
from onnx_conformance.core.errors import (
    CapabilityMissing,
    ConformanceError,
    StageFailure,
    WorkerError,
)
from onnx_conformance.perf.gate.gate_document import GateResult
from onnx_conformance.perf.gate.gate_run import GateRun, GateSide, baseline_artifact
from onnx_conformance.perf.gate.rules import (
    RULES,
    GateFailure,
    GateUndecided,
    judge_metric,
    load_rules,
)
from onnx_conformance.perf.gate.sequential_test import draw
from onnx_conformance.perf.latency.certification import Certificates
from onnx_conformance.perf.latency.interleave import Block
from onnx_conformance.perf.options import BASELINE, PerfRun
from onnx_conformance.report.saved_artifacts import Baseline, read_baseline
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.subject import Artifact

CANDIDATE = "candidate"
ENGINE = "onnxruntime"
PLAIN_FORMS = {BASELINE: "plain", CANDIDATE: "plain"}


@dataclass
class OpenSides:
    """Both sides while their pairs are drawn: blocks, placement and versions by side."""

    blocks: dict[str, list[Block]]
    placement: dict[str, Placement]
    runtimes: dict[str, str]


class Gate:
    """The gate of a run. A case is gated once, when its first test asks.

    Args:
        needs: the run's workers and certificates, made when the first case needs them.
        worker: the kind of worker in which the sides run.
        forms: how each side is called.

    Raises:
        UsageError: a baseline or rules that cannot be used.
    """

    def __init__(
        self,
        run: PerfRun,
        needs: Callable[[], tuple[RunWorkers, Certificates]],
        worker: str = ENGINE,
        forms: Mapping[str, str] = PLAIN_FORMS,
    ) -> None:
        assert run.gate is not None
        self._run = run
        self._needs = needs
        self._worker = worker
        self._forms = forms
        self._options = run.gate
        self._rules = load_rules(run.gate.rules or RULES)
        self.baseline = read_baseline(run.gate.folder) if run.gate.folder else None
        self.timing = self._rules.timing.with_threshold(run.gate.threshold)
        self.found: dict[tuple[Case, int], GateResult | ConformanceError] = {}
        self._raised: set[tuple[Case, int]] = set()

    def check_speed(self, case: Case, batch: int) -> str:
        """The verdict on a case's speed at a batch size, in words.

        Raises:
            GateFailure: it is slower; GateUndecided: neither is shown.
        """
        found = self.result(case, batch)
        words = found.sentence(self.timing)
        if found.decision.verdict == "slower":
            raise GateFailure(words)
        if found.decision.verdict == "undecided":
            raise GateFailure(words) if self._options.strict else GateUndecided(words)
        return words

    def check_figure(self, case: Case, batch: int, metric: str) -> str:
        """The verdict on another of its figures, in words.

        Raises:
            GateFailure: it is red by its rule, or was not measured.
        """
        verdict = self.result(case, batch).figures[metric]
        if verdict.red:
            raise GateFailure(verdict.sentence)
        return verdict.sentence

    def check_covered(self) -> None:
        """Refuse a run that leaves out cases of the baseline, as :func:`check_covered` does."""
        if self.baseline is not None:
            check_covered(self._run, self.baseline)

    def result(self, case: Case, batch: int) -> GateResult:
        """Measure a case and its baseline, once in a run, and judge every figure.

        Raises:
            CapabilityMissing: the run leaves its framework out.
            ConformanceError: why there is nothing to compare; raised once, and a skip from then on.
        """
        chosen, own = self._run.frameworks, resolve_model(case.model).framework
        if chosen and own not in chosen:
            raise CapabilityMissing(f"{own}: left out by --framework {' '.join(chosen)}")
        key = (case, batch)
        if key not in self.found:
            try:
                self.found[key] = self._judge(case, batch)
            except WorkerError as error:
                self.found[key] = StageFailure("gate", case.id, str(error), error.details)
            except CapabilityMissing as lack:
                self.found[key] = self._not_runnable(case, lack)
            except ConformanceError as reason:
                self.found[key] = reason
        found = self.found[key]
        if isinstance(found, GateResult):
            return found
        if key in self._raised:
            raise CapabilityMissing(f"not compared, for the reason above: {found}")
        self._raised.add(key)
        raise found

    def _not_runnable(self, case: Case, lack: CapabilityMissing) -> ConformanceError:
        """Why a case cannot run here: a failure where the baseline has it, else a named skip."""
        if self.baseline is None or case.id not in self.baseline.cases:
            return lack
        return GateFailure(f"{case.id}: the baseline has this case, but it cannot run here: {lack}")

    def _judge(self, case: Case, batch: int) -> GateResult:
        workers, certificates = self._needs()
        artifact = _certified_artifact(case, workers, certificates)
        kept = artifact
        if self.baseline is not None:
            kept = baseline_artifact(case, self.baseline.certified_case(case.id), workers)
        subject = LiveSubject(case, workers, self._run.tolerances)
        old, new = self._side(BASELINE, kept), self._side(CANDIDATE, artifact)
        gate_run = GateRun(self._run, subject, batch)
        workers.quiesce()
        with self._opened(gate_run, old, new) as sides:
            check_placed(case, sides.placement[BASELINE], sides.placement[CANDIDATE])
            samples = draw(
                sides.blocks[BASELINE],
                sides.blocks[CANDIDATE],
                self.timing,
                seconds=self._options.seconds or self.timing.seconds,
                seed=self._run.settings.seed,
            )
        of_old, of_new = gate_run.figures((old, new))
        judged = {
            name: judge_metric(rule, of_old.get(name), of_new.get(name))
            for name, rule in self._rules.metrics.items()
        }
        same = kept.sha256 == artifact.sha256
        return GateResult(case, batch, samples, judged, sides.placement, sides.runtimes, same)

    def _side(self, name: str, artifact: Artifact) -> GateSide:
        spec = self._options.spec if name == BASELINE else None
        return GateSide(name, artifact, self._worker, spec, self._forms[name])

    @contextmanager
    def _opened(self, gate_run: GateRun, old: GateSide, new: GateSide) -> Iterator[OpenSides]:
        """Both sides opened and warmed up; their workers end with the block.

        Two processes that run the same file differ for good by one or two percent, two sessions
        of one process by a tenth of that. So the sides share a process where their environment is
        the same; else each has several, over which the difference averages out.
        """
        with ExitStack() as stack:
            shared = old.spec == new.spec
            sides = OpenSides({old.name: [], new.name: []}, {}, {})
            for _ in range(1 if shared else self.timing.processes):
                common = stack.enter_context(closing(gate_run.worker(old)))
                other = common if shared else stack.enter_context(closing(gate_run.worker(new)))
                for side, worker in ((old, common), (new, other)):
                    block, timed_session = gate_run.block(worker, side)
                    sides.blocks[side.name].append(block)
                    sides.placement[side.name] = timed_session.opened.nodes
                    sides.runtimes[side.name] = worker.call("versions")["onnxruntime"]
            yield sides


def _certified_artifact(case: Case, workers: RunWorkers, certificates: Certificates) -> Artifact:
    certificates.ensure([case])
    certificates.of(case)
    return workers.artifact(case)


def check_placed(case: Case, baseline: Placement, candidate: Placement) -> None:
    """Refuse a candidate of which other providers run more nodes than of its baseline.

    Args:
        baseline, candidate: provider, as ONNX Runtime names it -> operator -> nodes.

    Raises:
        GateFailure: naming the operators that are placed elsewhere.
    """
    wanted = PROVIDERS[case.provider].ort_name
    before, now = _elsewhere(baseline, wanted), _elsewhere(candidate, wanted)
    if sum(now.values()) > sum(before.values()):
        listed = ", ".join(f"{number} {name}" for name, number in now.items())
        raise GateFailure(
            f"{case.id}: {sum(now.values())} nodes do not run on {wanted} ({listed}); in the "
            f"baseline it was {sum(before.values())}"
        )


def _elsewhere(placement: Placement, wanted: str) -> dict[str, int]:
    """The nodes that other providers run: ``Conv on CPUExecutionProvider`` -> how many."""
    return {
        f"{operator} on {provider}": number
        for provider, operators in placement.items()
        if provider != wanted
        for operator, number in operators.items()
    }


def check_covered(run: PerfRun, baseline: Baseline) -> None:
    """Refuse a run that leaves out cases of the baseline and was not narrowed by name.

    Raises:
        GateFailure: a case of the baseline has no candidate, or none of them has.
    """
    ids = {case.id for case in run.cases}
    kept = {name for name, case in baseline.cases.items() if not case.option}
    missing = sorted(kept - ids)
    if not kept & ids:
        raise GateFailure(
            f"no case of this run is in the baseline {baseline.folder}, which has "
            f"{', '.join(missing[:5])}"
        )
    if missing and run.selection.full:
        raise GateFailure(
            f"{len(missing)} cases of the baseline have no candidate: {', '.join(missing[:5])}; "
            "if they were renamed or removed, keep the baseline anew with --save-onnx"
        )
