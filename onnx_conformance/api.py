"""``certify``: the same checks as a run, for notebooks and scripts."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.catalog.models import (
    MODELS,
    Declaration,
    Sizes,
    axes_from,
    read_pointer,
    resolve_model,
)
from onnx_conformance.checks.evidence import ConformanceFailure, excused
from onnx_conformance.checks.registry import CHECKS, families_of, required_checks
from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.custom_operators import CustomOperators
from onnx_conformance.core.errors import (
    CapabilityMissing,
    ConformanceError,
    UsageError,
    internal_error,
    where,
)
from onnx_conformance.core.file_roles import roles
from onnx_conformance.core.files import PROGRAM
from onnx_conformance.core.project import project
from onnx_conformance.core.results import UNJUDGED, CheckResult, Outcome, failed, skipped
from onnx_conformance.core.settings import EdgeCases, Settings
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.store import Store
from onnx_conformance.core.text import times_of
from onnx_conformance.core.tolerances import Tolerances, load_tolerances
from onnx_conformance.inputs.strategies import DEFAULT_EXAMPLES
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.external_artifacts import labelled
from onnx_conformance.run.file_folder import POOLS
from onnx_conformance.run.known_failures import (
    KnownFailure,
    load_known_failures,
)
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.selection import Selection, select_cases
from onnx_conformance.run.user_models import adopt

Examples = Mapping[str, Any] | list[Mapping[str, Any]]
Spec = TensorSpec | Iterable[TensorSpec] | Examples | None
P = ParamSpec("P")
R = TypeVar("R")
OPTIONS = re.compile(r"--(artifact|exporter|opset|provider)(?![-\w])=?")  # also arguments, plural
MARKS = {
    "passed": "passed",
    "known_failure": "known failure",
    "failed": "RED",
    "skipped": "skipped",
}

RED_ADVICE = (
    "to do: read the first failed check; weights are judged before outputs. If the model fails by "
    "one exporter or opset only, use another (exporters=, opsets=)"
)
FILE_ADVICE = (
    "to do: read the first failed check; weights are judged before outputs. Where the file differs "
    "from this model, export it again, or check which checkpoint it came from"
)
SKIPPED_ADVICE = (
    "to do: checks that did not run prove nothing. Install or name what the lines above say is "
    "missing, or choose exporters=, opsets= and providers= that work here"
)
KNOWN_ADVICE = (
    "to do: a known upstream failure does not count as passed. Leave the case out (exporters=, "
    "opsets=), or remove its entry once the fault is fixed"
)


@dataclass(frozen=True)
class CaseVerdict:
    """The verdict on one case: a result for each test that it requires."""

    case: Case
    results: tuple[CheckResult, ...]

    @property
    def edge(self) -> tuple[CheckResult, ...]:
        """Findings on edge cases; they do not affect the verdict."""
        return tuple(result for result in self.results if result.outcome == "edge")

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, ``known_failure``, or ``skipped`` where a test was not run."""
        found = {result.outcome for result in self.results}
        for verdict in ("failed", "error", "known_failure", "skipped"):
            if verdict in found:
                return "failed" if verdict == "error" else verdict
        return "passed" if "passed" in found else "skipped"

    @property
    def compared(self) -> int:
        """How many elements and facts were compared."""
        return sum(result.compared for result in self.results)

    @property
    def score(self) -> float | None:
        """The worst error in float32 noise floors, where one was measured."""
        scores = [result.score for result in self.results if result.score is not None]
        return max(scores, default=None)

    def __str__(self) -> str:
        worst = "" if self.score is None else f", worst {self.score:.2f} noise floors"
        if self.verdict == "passed" and self.score is None:
            worst = ", by allclose alone, without a float64 oracle"
        lines = [f"{self.case.id}: {MARKS[self.verdict]} ({self.compared:,} compared{worst})"]
        lines += [line for alike in _blocks(self.results) for line in _block_lines(alike)]
        if self.edge:
            lines[0] = f"{lines[0]} ◇"
            lines += [f"  ◇ edge finding in {one.name}: {one.reason}" for one in self.edge]
        return "\n".join(lines)

    def cause(self) -> str:
        """The case and the check that decides its verdict, in one line."""
        order = ("failed", "error", "skipped", "known_failure")
        found = [one for one in self.results if one.outcome in order]
        if not found:
            return f"{self.case.id}: no check was run"
        one = min(found, key=lambda one: order.index(one.outcome) // 2)
        return f"{self.case.id}: {one.name}: {'; '.join([one.reason, *one.details[:1]])}"


def _blocks(results: Iterable[CheckResult]) -> list[list[CheckResult]]:
    """What did not pass, in the order of the checks: failures of one check together.

    A stage that failed fails every check in the same words: they are together too.
    """
    quiet = ("passed", "known_failure", "edge", "not_applicable")
    shown = [one for one in results if one.outcome not in quiet]
    distinct = {(one.name, one.reason, one.details) for one in shown}
    checks = Counter((reason, details) for _, reason, details in distinct)
    blocks: dict[Any, list[CheckResult]] = {}
    for one in shown:
        alone = checks[one.reason, one.details] == 1 and one.outcome != "skipped"
        blocks.setdefault(one.name if alone else (one.reason, one.details), []).append(one)
    return list(blocks.values())


def _block_lines(block: Sequence[CheckResult]) -> list[str]:
    """The worst of a block in full, and how many more there are."""
    worst = max(block, key=_share)
    rest = [one for one in block if one is not worst]
    same = all((one.reason, one.details) == (worst.reason, worst.details) for one in rest)
    tail = f" and {len(rest)} more" if rest and same else ""
    lines = [f"  {worst.name}{tail}: {worst.reason}", *(f"    {line}" for line in worst.details)]
    lines += [f"    inputs: {worst.inputs}"] if worst.inputs and not tail else []
    if rest and not same:
        what = "sets of inputs" if worst.inputs else "failures of this check"
        scores = [one.score for one in rest if one.score is not None]
        span = f" ({times_of(min(scores))}x to {times_of(max(scores))}x)" if scores else ""
        lines.append(f"    and {len(rest)} more {what}{span}")
    return lines


def _share(result: CheckResult) -> float:
    """The score as a multiple of what is allowed; 0 where nothing was measured."""
    return 0.0 if result.score is None else result.score / (result.budget or 1.0)


@dataclass(frozen=True)
class Certification:
    """The verdicts of one call of :func:`certify`; print it.

    Args:
        notes: what a reader should know about the model's inputs, such as the spec that was
            inferred from examples.
    """

    cases: tuple[CaseVerdict, ...] = field(default=())
    notes: tuple[str, ...] = ()

    @property
    def proved(self) -> bool:
        """Whether every case passed every required check; False without any case."""
        return bool(self.cases) and all(case.verdict == "passed" for case in self.cases)

    def require(self) -> None:
        """Do nothing where every case passed every check.

        Raises:
            AssertionError: which checks of which cases failed or did not run, and what to do.
        """
        __tracebackhide__ = True  # under pytest the caller's line is shown, and this message
        if not self.proved:
            raise AssertionError("\n".join([*self._cause(), str(self), *self._advice()]))

    def _cause(self) -> list[str]:
        """The cause of the first red case, else of one unproved: what pytest's summary shows."""
        order = ("failed", "skipped", "known_failure")
        found = [case for case in self.cases if case.verdict in order]
        if not found:
            return []
        worst = min(found, key=lambda case: order.index(case.verdict))
        return [worst.cause()]

    def _advice(self) -> list[str]:
        """What to do about the verdicts, one line for each kind."""
        found = {case.verdict for case in self.cases}
        files = any(isinstance(case.case, ExternalCase) for case in self.cases)
        lines = [FILE_ADVICE if files else RED_ADVICE] if "failed" in found else []
        lines += [SKIPPED_ADVICE] if "skipped" in found else []
        lines += [KNOWN_ADVICE] if "known_failure" in found else []
        return lines or [
            "to do: no case was judged: name exporters, opsets or artifacts that exist"
        ]

    def __str__(self) -> str:
        proved = sum(case.verdict == "passed" for case in self.cases)
        last = f"{proved} of {len(self.cases)} cases passed every check."
        return "\n".join([*self.notes, *map(str, self.cases), last])


def _raising_at_the_call(function: Callable[P, R]) -> Callable[P, R]:
    """Raise errors for the caller to fix without our frames, and in terms of arguments."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True  # under pytest the caller's line is shown, and this message
        try:
            return function(*args, **kwargs)
        except UsageError as error:
            error.args = (OPTIONS.sub(r"\1s=", str(error)),)
            raise error.with_traceback(None) from None

    return wrapper


@_raising_at_the_call
def certify(
    model: Any,
    spec: Spec = None,
    *,
    name: str = "model",
    axes: Mapping[str, Sizes] | None = None,
    oracle: bool = True,
    operators: CustomOperators | None = None,
    carries: Mapping[str, str] | None = None,
    exporters: str | Iterable[str] = (),
    opsets: int | Iterable[int] = (),
    providers: str | Iterable[str] = ("cpu",),
    artifacts: str | Path | Iterable[str | Path] = (),
    seed: int = 0,
    examples: int = DEFAULT_EXAMPLES,
    threads: int = 1,
    tolerances: Path | None = None,
    known_failures: Path | None = None,
    edge_cases: EdgeCases = "report",
    cache_dir: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Certification:
    """Export a model by each route, run it on each provider, and run every check on it.

    Args:
        model: a ``torch.nn.Module``, ``keras.Model`` or callable of this process, or the name of
            a model as ``--model`` takes it.
        spec: the inputs: specs, or a dict of example arrays, or a list of such dicts in several
            sizes. A Keras model knows its own.
        name: the model's name in case ids.
        axes: sizes of symbolic axes other than the batch: ``{"sequence": (1, 128)}``.
        oracle: False for a model that cannot be computed in float64.
        operators: translations of a torch model's own operators, and libraries that run them.
        carries: outputs that are inputs of the next call: ``{"present_key": "past_key"}``. Default:
            what names that pair up tell.
        exporters, opsets, providers: one or several. Default: every route of the framework at two
            opsets each, on the CPU.
        artifacts: ONNX files to judge instead of an export.
        examples: how many recipes Hypothesis draws for each case, beside the pinned ones. The
            Hypothesis profile of the calling project does not change it.
        threads: threads of ONNX Runtime, and of native where it runs in a process of its own.
        tolerances, known_failures: files. Default: those that the project's pyproject.toml names.
        edge_cases: ``report`` failures on edge cases (empty batch, NaN and infinity, denormals)
            without affecting the verdict, or ``fail`` on them.
        cache_dir: keeps results of named models for later calls. Default: nothing is kept.
        progress: a function called with a line for each case as it begins, such as ``print``.

    Raises:
        UsageError: an unknown name, or a spec that does not describe the model.
    """
    if examples < 1:
        raise UsageError(f"certify: examples={examples} is too few; draw at least 1 recipe")
    if isinstance(model, str):
        _refuse_parts(model, tuple(str(path) for path in _several(artifacts)))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = cache_dir or scratch
        before = tuple(MODELS)
        found = _spec_of(
            model, spec, name, axes, oracle,
            operators=operators, carries=carries, seed=seed, scratch=scratch,
        )  # fmt: skip
        # another call may mean another model by the same name
        if found.name in MODELS and found.name not in before:
            stack.callback(MODELS.forget, found.name)
        live = not isinstance(model, str)
        rules = load_tolerances(tolerances or project().tolerances)
        settings = Settings(
            seed=seed,
            cache_dir=folder,
            threads=threads,
            examples=examples,
            native_in_process=live and FRAMEWORKS[found.framework].runs_live,
            approximation=rules.defaults["approximation"],
            padding=rules.defaults["padding"],
            edge_cases=edge_cases,
        )
        workers = RunWorkers(settings, Store(folder), Clock())
        stack.callback(workers.close)
        upstream = known_failures or project().known_failures
        known = tuple(load_known_failures(upstream, CHECKS)) if upstream else ()
        asked = Selection(
            (found.name,),
            tuple(_several(exporters)),
            tuple(_several(opsets)),
            tuple(_several(providers)),
            tuple(str(path) for path in _several(artifacts)),
        )
        cases = list(select_cases(asked))
        _plan(cases, workers)
        verdicts = []
        for case in cases:
            progress(case.id)
            verdicts.append(_judged(case, workers, rules, known))
        notes = tuple(f"{found.name}: {note}" for note in found.notes)
        return Certification(tuple(verdicts), notes)


def _refuse_parts(model: str, artifacts: tuple[str, ...]) -> None:
    """Refuse a folder whose files stand for parts of a model, which the command judges."""
    pointer = read_pointer(model)
    folder = len(artifacts) == 1 and Path(artifacts[0]).is_dir()
    if folder and pointer and pointer.pool in POOLS and roles(labelled(artifacts)):
        raise UsageError(
            f"certify('{model}'): the files of {artifacts[0]} are parts of it, which are judged by "
            f"{PROGRAM} run --model {model} --artifact {artifacts[0]}"
        )


def _several(argument: Any) -> Iterable[Any]:
    """The values that the caller gave, whether one or several."""
    return (argument,) if isinstance(argument, (str, int, Path)) else argument


def _spec_of(
    model: Any,
    spec: Spec,
    name: str,
    axes: Mapping[str, Sizes] | None,
    oracle: bool,
    *,
    operators: CustomOperators | None,
    carries: Mapping[str, str] | None,
    seed: int,
    scratch: Path,
) -> ModelSpec:
    if isinstance(model, str):
        own = {"spec": spec, "operators": operators, "carries": carries}
        for what in (what for what, given in own.items() if given is not None):
            raise UsageError(
                f"certify('{model}'): a named model has its own {what}; leave the argument out"
            )
        return resolve_model(adopt((), (model,), seed=seed)[0])
    from onnx_conformance.workers.user_model.describe import describe_live

    examples = spec if _are_examples(spec) else None
    inputs: tuple[Any, ...] = ()
    if isinstance(spec, TensorSpec):
        inputs = (spec,)
    elif spec is not None and examples is None:
        inputs = tuple(spec)
        if not all(isinstance(one, TensorSpec) for one in inputs):
            raise UsageError(
                f"certify: a spec is a TensorSpec, several of them, or example arrays by name "
                f'({{"x": array}}), not {type(spec).__name__}'
            )
    one = Declaration(
        name,
        lambda: model,
        inputs=inputs,
        examples=examples,
        axes=axes_from(axes),
        oracle=oracle,
        carries=None if carries is None else tuple(carries.items()),
    )
    return MODELS.register(name, describe_live(model, one, seed, scratch, operators))


def _are_examples(spec: Spec) -> bool:
    if isinstance(spec, Mapping):
        return True
    return isinstance(spec, list) and all(isinstance(one, Mapping) for one in spec) and bool(spec)


def _plan(cases: Iterable[Case], workers: RunWorkers) -> None:
    """Compute ahead what the tests of the cases will need, model by model.

    Requested one by one, each set of inputs would rebuild the float64 oracle and the replicas.
    """
    usable = [case for case in cases if workers.probe(case.provider).usable]
    workers.plan({case: families_of(resolve_model(case.model), case) for case in usable})


def _judged(
    case: Case,
    workers: RunWorkers,
    rules: Tolerances,
    known: tuple[KnownFailure, ...],
) -> CaseVerdict:
    probe = workers.probe(case.provider)
    if not probe.usable:
        outcome: Outcome = "failed" if probe.broken else "skipped"
        reason = f"{case.provider}: {probe.sentence}"
        return CaseVerdict(case, (CheckResult("placement", outcome, reason),))
    subject = LiveSubject(case, workers, rules)
    results: list[CheckResult] = []
    examples = workers.settings.examples
    for test in required_checks(subject.model, case, subject.seed, drawn=True, examples=examples):
        try:
            result = test.run(subject)
            failure: ConformanceError | None = ConformanceFailure(subject, result)
        except CapabilityMissing as missing:
            result, failure = skipped(str(missing)), None
        except ConformanceError as error:
            result, failure = failed(str(error)), error
        except Exception as error:
            words = internal_error(error, test.check.name)
            if words is None:
                raise
            result, failure = failed(words, details=tuple(where(error))), None
        if not result.passed and result.outcome not in UNJUDGED and failure is not None:
            edge_cases = workers.settings.edge_cases
            result = excused(subject, test.check.name, failure, known, edge_cases) or result
        results.append(replace(result, name=test.check.name))
    return CaseVerdict(case, tuple(results))
