"""Load and validate the gate's rules file; judge single figures by it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnx_conformance.core.yaml_reader import NodeReader, compose

RULES = Path(__file__).with_name("rules.yaml")
SCHEMA = 1
METRICS = ("score", "artifact_size", "node_count", "peak_memory", "session_creation")
# What no honest figure lies outside of.
TIMING_LIMITS: dict[str, tuple[float, float]] = {
    "threshold": (0.001, 10.0),
    "seconds": (0.1, 86400.0),
    "alpha": (1e-6, 0.1),
    "beta": (1e-6, 0.1),
    "bias": (0.0, 0.1),
    "repeated": (0.05, 1.0),
}
MOST_LOOKS = 100
MOST_PROCESSES = 20
FACTOR_LIMITS = (1.0, 100.0)  # a factor below 1 would ask every candidate to be better
SLACK_LIMITS = (0.0, 1e12)
SHARE_LIMITS = (0.0, 1.0)

Outcome = Literal["ok", "red", "not measured"]


@dataclass(frozen=True)
class TimingRules:
    """The sequential test's figures; see :class:`GatePlan` in ``sequential_test``."""

    threshold: float
    seconds: float
    alpha: float
    beta: float
    bias: float
    repeated: float
    looks: tuple[int, ...]
    processes: int


@dataclass(frozen=True)
class MetricRule:
    """How much worse a figure of the candidate may be: by ``factor`` or, in ``unit``, ``slack``."""

    name: str
    unit: str
    factor: float
    slack: float
    may_be_zero: bool
    reason: str


@dataclass(frozen=True)
class GateRules:
    """A validated rules file.

    Args:
        least_placement: the share of its nodes that a case's provider must run.
    """

    path: Path
    timing: TimingRules
    least_placement: float
    metrics: dict[str, MetricRule]


@dataclass(frozen=True)
class MetricVerdict:
    """One figure of both sides; ``sentence`` says what was found."""

    metric: str
    outcome: Outcome
    baseline: float | None
    candidate: float | None
    sentence: str

    @property
    def red(self) -> bool:
        """What was not measured is no pass."""
        return self.outcome != "ok"


def judge_metric(
    rule: MetricRule, baseline: float | None, candidate: float | None
) -> MetricVerdict:
    """Red if the candidate is worse by more than the rule's factor and by more than its slack."""
    label = rule.name.replace("_", " ")
    if baseline is None or not _is_measured(rule, baseline):
        return _unmeasured(rule, baseline, candidate, f"{label}: the baseline's figure", baseline)
    if candidate is None or not _is_measured(rule, candidate):
        return _unmeasured(rule, baseline, candidate, f"{label}: the candidate's figure", candidate)
    worse = candidate > rule.factor * baseline and candidate - baseline > rule.slack
    by = f" ({candidate / baseline:.3g} times)" if baseline else ""
    allowed = max(rule.factor * baseline, baseline + rule.slack)
    sentence = (
        f"{label}: {_told(baseline)} -> {_told(candidate)} {rule.unit}{by}; "
        f"allowed are {_told(allowed)}"
    )
    return MetricVerdict(rule.name, "red" if worse else "ok", baseline, candidate, sentence)


def _unmeasured(
    rule: MetricRule,
    baseline: float | None,
    candidate: float | None,
    what: str,
    figure: float | None,
) -> MetricVerdict:
    told = "is missing" if figure is None else f"is {figure}"
    sentence = f"{what} {told}: what was not measured is no pass"
    return MetricVerdict(rule.name, "not measured", baseline, candidate, sentence)


def _is_measured(rule: MetricRule, figure: float) -> bool:
    return math.isfinite(figure) and (figure > 0 or (figure == 0 and rule.may_be_zero))


def _told(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 1000 else f"{figure:.4g}"


def load_rules(path: Path = RULES) -> GateRules:
    """Read and validate a rules file.

    Raises:
        UsageError: naming the file, the line and the key.
    """
    root = compose(path)
    reader = _RulesReader(path)
    top = reader.mapping(root, "the file")
    reader.exactly(root, top, ("schema", "timing", "least_placement", "metrics"), "the file")
    schema = reader.value(top["schema"])
    if type(schema) is not int or schema != SCHEMA:  # true and 1.0 equal 1
        reader.fail(top["schema"], f"'schema' must be {SCHEMA}")
    least = reader.number(top["least_placement"], "least_placement", SHARE_LIMITS)
    return GateRules(path, reader.timing(top["timing"]), least, reader.metrics(top["metrics"]))


class _RulesReader(NodeReader):
    def number(self, node: Any, key: str, limits: tuple[float, float]) -> float:
        value, (least, most) = self.value(node), limits
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(node, f"'{key}' must be a number, not {value!r}")
        if not least <= value <= most:
            self.fail(node, f"'{key}' must lie between {least:g} and {most:g}, not at {value:g}")
        return float(value)

    def timing(self, node: Any) -> TimingRules:
        found = self.mapping(node, "'timing'")
        self.exactly(node, found, (*TIMING_LIMITS, "looks", "processes"), "'timing'")
        figures = {key: self.number(found[key], key, TIMING_LIMITS[key]) for key in TIMING_LIMITS}
        looks = self._looks(found["looks"])
        needed = math.ceil(math.log2(len(looks) / min(figures["alpha"], figures["beta"])))
        if looks[0] < needed:
            self.fail(
                found["looks"],
                f"the first of {len(looks)} looks must come at {needed} pairs or later: "
                f"{looks[0]} cannot decide at these error rates",
            )
        processes = self.value(found["processes"])
        if type(processes) is not int or not 1 <= processes <= MOST_PROCESSES:
            self.fail(
                found["processes"], f"'processes' must be a whole number from 1 to {MOST_PROCESSES}"
            )
        return TimingRules(**figures, looks=looks, processes=processes)

    def _looks(self, node: Any) -> tuple[int, ...]:
        value = self.value(node)
        if (
            not isinstance(value, list)
            or not 0 < len(value) <= MOST_LOOKS
            or any(type(look) is not int or look < 1 for look in value)
            or sorted(set(value)) != value
        ):
            self.fail(node, f"'looks' must be a list of 1 to {MOST_LOOKS} rising counts of pairs")
        return tuple(value)

    def metrics(self, node: Any) -> dict[str, MetricRule]:
        found = self.mapping(node, "'metrics'")
        self.exactly(node, found, METRICS, "'metrics'")
        return {name: self._metric(found[name], name) for name in METRICS}

    def _metric(self, node: Any, name: str) -> MetricRule:
        found = self.mapping(node, f"'{name}'")
        needed = ("unit", "factor", "slack", "reason")
        self.among(node, (*needed, "may_be_zero"), f"'{name}'")
        self.exactly(node, {"may_be_zero": None, **found}, (*needed, "may_be_zero"), f"'{name}'")
        zero = self.value(found["may_be_zero"]) if "may_be_zero" in found else False
        if not isinstance(zero, bool):
            self.fail(found["may_be_zero"], "'may_be_zero' must be true or false")
        unit = str(self.value(found["unit"]) or "").strip()
        if not unit:
            self.fail(found["unit"], f"'{name}' needs a 'unit'")
        reason = self.reason(found["reason"], f"'{name}'")
        factor = self.number(found["factor"], "factor", FACTOR_LIMITS)
        slack = self.number(found["slack"], "slack", SLACK_LIMITS)
        return MetricRule(name, unit, factor, slack, zero, reason)
