"""The gate: each candidate beside its baseline, measured in one session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import (
    CapabilityMissing,
    ConformanceError,
    StageFailure,
    WorkerError,
)
from onnx_conformance.perf.gate.baseline import read_baseline
from onnx_conformance.perf.gate.gate_run import GateEntry, GateRun, baseline_artifact
from onnx_conformance.perf.gate.metrics import figures
from onnx_conformance.perf.gate.outcomes import Worse
from onnx_conformance.perf.gate.rules import RULES, MetricVerdict, judge_metric, load_rules
from onnx_conformance.perf.gate.sequential_test import Decision, PairedSamples, draw, plan_for
from onnx_conformance.perf.latency.certification import Certificates
from onnx_conformance.perf.latency.interleave import Block
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.session.conformance_session import ConformanceSession
from onnx_conformance.session.live_subject import LiveSubject
from onnx_conformance.session.subject import Artifact

BASELINE, CANDIDATE = "baseline", "candidate"
ENGINE = "onnxruntime"
PLAIN = {BASELINE: "plain", CANDIDATE: "plain"}


@dataclass
class Playing:
    """Both sides while their pairs are drawn: blocks, placement and versions by side."""

    blocks: dict[str, list[Block]]
    placement: dict[str, Any]
    runtimes: dict[str, str]


@dataclass(frozen=True)
class Gated:
    """What the gate found of one case at one batch size.

    Args:
        placement: side -> provider -> operator -> nodes.
        runtimes: side -> version of ONNX Runtime.
        metrics: verdicts on the figures beside speed, by name.
        same_file: whether both sides are the very same bytes.
    """

    case: Case
    batch: int
    samples: PairedSamples
    metrics: dict[str, MetricVerdict]
    placement: dict[str, Any] = field(default_factory=dict)
    runtimes: dict[str, str] = field(default_factory=dict)
    same_file: bool = False

    @property
    def decision(self) -> Decision:
        """On speed."""
        return self.samples.decision


class Gate:
    """One for a session. A case is gated once, when its first test asks.

    Args:
        needs: the session's session and certificates, made when the first case needs them.
        worker: the kind of worker in which the sides run.
        forms: how each side is called.

    Raises:
        UsageError: a baseline or rules that cannot be used.
    """

    def __init__(
        self,
        run: PerfRun,
        needs: Callable[[], tuple[ConformanceSession, Certificates]],
        worker: str = ENGINE,
        forms: Mapping[str, str] = PLAIN,
    ) -> None:
        assert run.gate is not None
        self._run = run
        self._needs = needs
        self._worker = worker
        self._forms = forms
        self._options = run.gate
        self._rules = load_rules(run.gate.rules or RULES)
        self.baseline = read_baseline(run.gate.folder) if run.gate.folder else None
        self.plan = plan_for(self._rules.timing, run.gate.threshold)
        self.found: dict[tuple[Case, int], Gated | ConformanceError] = {}
        self._told: set[tuple[Case, int]] = set()

    def gated(self, case: Case, batch: int) -> Gated:
        """The case beside its baseline.

        Raises:
            ConformanceError: why there is nothing to compare; raised once, and a skip from then on.
        """
        key = (case, batch)
        if key not in self.found:
            try:
                self.found[key] = self._judge(case, batch)
            except WorkerError as error:
                self.found[key] = StageFailure("gate", case.id, str(error), error.details)
            except CapabilityMissing as lack:
                self.found[key] = self._lost(case, lack)
            except ConformanceError as reason:
                self.found[key] = reason
        found = self.found[key]
        if isinstance(found, Gated):
            return found
        if key in self._told:
            raise CapabilityMissing(f"not compared, for the reason above: {found}")
        self._told.add(key)
        raise found

    @property
    def frameworks(self) -> tuple[str, ...]:
        """Those that the run was narrowed to; empty for all."""
        return self._run.frameworks

    def _lost(self, case: Case, lack: CapabilityMissing) -> ConformanceError:
        """What passed in the baseline and this machine cannot run is no skip."""
        if self.baseline is None or case.id not in self.baseline.cases:
            return lack
        return Worse(f"{case.id}: the baseline has this case, but it cannot run here: {lack}")

    def _judge(self, case: Case, batch: int) -> Gated:
        conformance_session, certificates = self._needs()
        artifact = _proved(case, conformance_session, certificates)
        kept = artifact
        if self.baseline is not None:
            kept = baseline_artifact(case, self.baseline.proved(case.id), conformance_session)
        subject = LiveSubject(case, conformance_session, self._run.tolerances)
        old, new = self._side(BASELINE, kept), self._side(CANDIDATE, artifact)
        gate_run = GateRun(self._run, subject, batch)
        conformance_session.quiesce()
        with self._playing(gate_run, old, new) as playing:
            check_placed(case, playing.placement[BASELINE], playing.placement[CANDIDATE])
            samples = draw(
                playing.blocks[BASELINE],
                playing.blocks[CANDIDATE],
                self.plan,
                seconds=self._options.seconds or self._rules.timing.seconds,
                seed=self._run.settings.seed,
            )
        of_old, of_new = figures(gate_run, subject, (old, new))
        metrics = {
            name: judge_metric(rule, of_old.get(name), of_new.get(name))
            for name, rule in self._rules.metrics.items()
        }
        same = kept.sha256 == artifact.sha256
        return Gated(case, batch, samples, metrics, playing.placement, playing.runtimes, same)

    def _side(self, name: str, artifact: Artifact) -> GateEntry:
        spec = self._options.spec if name == BASELINE else None
        return GateEntry(name, artifact, self._worker, spec, self._forms[name])

    @contextmanager
    def _playing(self, gate_run: GateRun, old: GateEntry, new: GateEntry) -> Iterator[Playing]:
        """Both sides, warm, until their pairs are drawn.

        Two processes that run the same file differ for good by one or two percent, two sessions
        of one process by a tenth of that. So the sides share a process where their environment is
        the same; else each has several, over which the difference averages out.
        """
        with ExitStack() as stack:
            shared = old.spec == new.spec
            playing = Playing({old.name: [], new.name: []}, {}, {})
            for _ in range(1 if shared else self._rules.timing.processes):
                common = stack.enter_context(gate_run.worker(old))
                other = common if shared else stack.enter_context(gate_run.worker(new))
                for entry, worker in ((old, common), (new, other)):
                    block, timed_session = gate_run.block(worker, entry)
                    playing.blocks[entry.name].append(block)
                    playing.placement[entry.name] = timed_session.facts["placement"]
                    playing.runtimes[entry.name] = worker.call("versions")["onnxruntime"]
            yield playing


def _proved(
    case: Case, conformance_session: ConformanceSession, certificates: Certificates
) -> Artifact:
    certificates.ensure([case])
    certificates.of(case)
    return conformance_session.artifact(case)


def check_placed(case: Case, baseline: dict[str, Any], candidate: dict[str, Any]) -> None:
    """More of the candidate's nodes than of the baseline's run off the case's provider.

    Args:
        baseline, candidate: provider, as ONNX Runtime names it -> operator -> nodes.

    Raises:
        Worse: naming the operators that are placed elsewhere.
    """
    wanted = PROVIDERS[case.provider].ort_name
    before, now = _elsewhere(baseline, wanted), _elsewhere(candidate, wanted)
    if sum(now.values()) > sum(before.values()):
        told = ", ".join(f"{number} {name}" for name, number in now.items())
        raise Worse(
            f"{case.id}: {sum(now.values())} nodes do not run on {wanted} ({told}); in the "
            f"baseline it was {sum(before.values())}"
        )


def _elsewhere(placement: dict[str, Any], wanted: str) -> dict[str, int]:
    """``Conv on CPUExecutionProvider`` -> nodes."""
    return {
        f"{operator} on {provider}": number
        for provider, operators in placement.items()
        if provider != wanted
        for operator, number in operators.items()
    }
