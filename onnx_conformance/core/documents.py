"""Typed records of what crosses processes and is written to ``results.json``."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from onnx_conformance.core.case import CaseRow

Placement = dict[str, dict[str, int]]  # provider -> operator -> nodes


class TensorFacts(TypedDict):
    """An input or output of a file.

    ``shape``: sizes, names of symbolic axes, and ``?`` for an axis without either; None where the
    file says nothing. ``node``: of an output, the name of the node that makes it.
    """

    name: str
    dtype: str
    shape: list[int | str] | None
    node: NotRequired[str]


class InitializerFacts(TypedDict):
    """How many initialisers a file has, and how many numbers they hold."""

    count: int
    elements: int


class FileFacts(TypedDict):
    """What was read back from a file.

    ``domains``: domain -> opset. ``dynamic_axes``: tensor -> axis, as text, -> its name.
    ``nodes``: operator -> how many. ``files``: the graph's own first, then those of its weights,
    relative to its folder; ``bytes`` of all together.
    """

    opset: int
    domains: dict[str, int]
    ir_version: int
    producer: str
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]
    dynamic_axes: dict[str, dict[str, str]]
    nodes: dict[str, int]
    initializers: InitializerFacts
    files: list[str]
    bytes: int


class Placed(TypedDict):
    """The share of the case's provider: of the nodes and of a run's time, each from 0 to 1."""

    nodes: float
    work: float | None
    work_unknown: str


class ErrorFacts(TypedDict):
    """An error against native in float64, relative and in noise floors."""

    relative: float
    noise_floors: float


class NativeFacts(TypedDict):
    """An operator of the native model, its module and source line; empty where not known."""

    operator: str
    module: str
    source: str


class DivergenceFacts(TypedDict):
    """The node that introduces an error: :class:`onnx_conformance.diagnose.divergence.Divergence`.

    ``text`` is what messages say of it, ``subgraph_nodes`` are those that fail alone.
    """

    kind: str
    node: str
    operator: str
    index: int
    before: ErrorFacts | None
    after: ErrorFacts | None
    native: NativeFacts | None
    missing: list[NativeFacts]
    passed_on: int
    readers: list[str]
    others: list[str]
    level: str
    why: str
    text: str
    subgraph_nodes: list[str]


class ProbeFacts(TypedDict):
    """What the probe of a provider found (:class:`onnx_conformance.run.probe.ProbeResult`)."""

    usable: bool
    reason: str
    stage: str
    remedy: str
    seconds: float


class CaseFacts(TypedDict, total=False):
    """Facts on a case's artifact and session."""

    cpu_fallback: bool
    artifact: FileFacts
    path: str
    sha256: str
    placement: Placement
    placed: Placed
    divergence: DivergenceFacts | None


class ErrorLimit(TypedDict):
    """What each sample of an output may err, in a norm of a view of it, relative to the oracle.

    ``below``: of a view without masked numbers, the magnitude from which on a sample's are masked.
    """

    output: str
    norm: str
    view: str
    allowed: list[float]
    below: NotRequired[list[float]]


class AnswerRule(TypedDict, total=False):
    """How a repro bundle judges the answer: ``kind``, and what that kind needs.

    ``errors``: ``limits`` and ``smallest_probability``. ``close``: ``rtol``, ``atol_rms`` and
    ``first_sample``. ``ranks``: ``output`` and ``ties``. Others (``answers``, ``structure``,
    ``same_bits``, ``refusal``) need nothing more.
    """

    kind: str
    limits: list[ErrorLimit]
    smallest_probability: float
    rtol: float
    atol_rms: float
    first_sample: int
    output: str
    ties: list[float]


class CallPlan(TypedDict):
    """Of one call: ``rows``, the samples it answers, and ``axes``, the batch of each output."""

    rows: list[int]
    axes: dict[str, int | None]


class CheckRow(TypedDict):
    """What one test of a check found (:class:`onnx_conformance.core.results.CheckResult`).

    ``resumed``: of a verdict that ``--resume`` took, when the run began that judged it.
    ``case``, ``facts`` and ``probes`` travel with the row from a test to the collector alone.
    Where a document was read back, an infinite ``score`` is a text.
    """

    name: str
    outcome: str
    reason: str
    compared: int
    score: float | None
    budget: float | None
    details: list[str]
    statistics: dict[str, Any]
    inputs: str | None
    divergence: DivergenceFacts | None
    seconds: NotRequired[float]
    nodeid: NotRequired[str]
    message: NotRequired[str]
    bundle: NotRequired[str]
    upstream: NotRequired[list[str]]
    resumed: NotRequired[str]
    case: NotRequired[CaseRow]
    facts: NotRequired[CaseFacts]
    probes: NotRequired[dict[str, ProbeFacts]]


class CaseEntry(TypedDict):
    """One entry of ``cases``: what was delivered, and every check's row."""

    id: str
    model: str
    basis: str | None
    notes: list[str]
    exporter: str
    opset_requested: int | None
    opset: int | None
    provider: str
    graph_level: str | None
    precision: str
    verdict: str
    complete: bool
    missing: dict[str, str]
    edge: list[str]
    option: bool
    resumed: str | None
    worst_score: float | None
    budget: float | None
    decibels: float | None
    same_bits: bool | None
    placement: Placement | None
    placed: Placed | None
    cpu_fallback: bool | None
    artifact: str | None
    artifact_files: list[str]
    artifact_bytes: int | None
    artifact_sha256: str | None
    nodes: dict[str, int]
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]
    dynamic_axes: dict[str, dict[str, str]]
    initializers: InitializerFacts | dict[str, int]
    divergence: DivergenceFacts | None
    checks: list[CheckRow]


class Totals(TypedDict):
    """How many cases and checks ended how; ``proved`` are those that passed every check."""

    cases: int
    proved: int
    without_oracle: int
    by_decisions: int
    options: int
    judged: int
    incomplete: int
    edge: int
    edge_checks: dict[str, int]
    verdicts: dict[str, int]
    checks: dict[str, int]
    compared: int


class TimeTable(TypedDict):
    """Seconds: of the workers and of waiting for them by stage, of the rest, and in all.

    ``jobs`` has them by framework, model, artifact or case, and stage, over all processes.
    """

    wall: float
    processes: int
    engine: dict[str, float]
    waited: dict[str, float]
    rest: float
    jobs: dict[str, dict[str, float]]


class Environment(TypedDict):
    """What a run was made with."""

    python: str
    platform: str
    processor: str
    devices: NotRequired[dict[str, str]]
    versions: dict[str, str]
    providers: NotRequired[dict[str, ProbeFacts]]


class ShardRecord(TypedDict):
    """Of a run of ``--shard K/N``: what joining the N results needs.

    ``cases``: ids of all cases of the run, in their order. ``basis``: digests of what must be the
    same in all shards, by what messages call it. ``explains``: known failure -> why it seems fixed,
    or nothing where it explained a failure.
    """

    place: int
    count: int
    cases: list[str]
    required: list[str]
    basis: dict[str, str]
    explains: dict[str, str]


class AboutRun(TypedDict):
    """What pytest knows of a run."""

    profile: str
    command: str
    started: str
    exit_status: int
    problems: list[str]
    models_from: list[str]
    shard: NotRequired[ShardRecord]


class RunEntry(AboutRun):
    """What a run was made with, and its verdict as a word and a sentence."""

    seed: int
    weights: str
    tolerances: str
    verdict: str
    sentence: str


class ResultsDocument(TypedDict):
    """The whole of ``results.json``."""

    schema: int
    environment: Environment
    run: RunEntry
    time: TimeTable
    totals: Totals
    cases: list[CaseEntry]
