"""The gate's rules: the file of them, the verdict on a single figure, and what is raised."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from onnx_conformance.core.errors import ConformanceError, UsageError
from onnx_conformance.core.yaml_reader import YamlNode, read_yaml

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
    """The effect that the sequential test looks for, and its error rates.

    Args:
        threshold: the smallest slowdown that must be caught, as a share: 0.1 is 10 %.
        seconds: for which pairs of a case may be drawn.
        alpha: the largest probability to prove "slower" where the ratio is at most 1 + bias.
        beta: the largest probability to prove "not slower" where it is at least 1 + threshold.
        bias: how far two processes that run the same code may differ for good, as a share.
        repeated: the share of pairs with the very same value from which the clock is in doubt.
        looks: after how many pairs it is decided, rising.
        processes: of each side, where their environments differ.
    """

    threshold: float
    seconds: float
    alpha: float
    beta: float
    bias: float
    repeated: float
    looks: tuple[int, ...]
    processes: int

    @property
    def middle(self) -> float:
        """The log ratio half-way to the threshold: log(1 + threshold) / 2."""
        return math.log1p(self.threshold) / 2

    def with_threshold(self, threshold: float | None) -> TimingRules:
        """The rules with another threshold (``--gate-threshold``, a share); None keeps it.

        Raises:
            UsageError: a threshold that is no share, or too near to the bias of two processes.
        """
        found = self if threshold is None else replace(self, threshold=threshold)
        if not 0 < found.threshold < 10:
            raise UsageError(
                f"--gate-threshold {threshold:g}: give a share above 0 and below 10, such as 0.1 "
                "for 10 %"
            )
        if found.threshold < 2 * self.bias:
            raise UsageError(
                f"--gate-threshold {found.threshold:g} is less than twice the bias of "
                f"{self.bias:g} by which two processes of the same code may differ; give at least "
                f"{2 * self.bias:g}, or measure a smaller 'bias' and write it into the rules file"
            )
        return found


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
        """Whether it is worse than the rule allows, or was not measured."""
        return self.outcome != "ok"

    def to_json(self) -> dict[str, str | float | None]:
        """One of ``figures`` of ``--gate-json``, in the unit of its rule."""
        shown = ("outcome", "baseline", "candidate", "sentence")
        return {name: getattr(self, name) for name in shown}


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
        f"{label}: {_figure(baseline)} -> {_figure(candidate)} {rule.unit}{by}; "
        f"allowed are {_figure(allowed)}"
    )
    return MetricVerdict(rule.name, "red" if worse else "ok", baseline, candidate, sentence)


def _unmeasured(
    rule: MetricRule,
    baseline: float | None,
    candidate: float | None,
    what: str,
    figure: float | None,
) -> MetricVerdict:
    problem = "is missing" if figure is None else f"is {figure}"
    sentence = f"{what} {problem}: what was not measured is no pass"
    return MetricVerdict(rule.name, "not measured", baseline, candidate, sentence)


def _is_measured(rule: MetricRule, figure: float) -> bool:
    return math.isfinite(figure) and (figure > 0 or (figure == 0 and rule.may_be_zero))


def _figure(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 1000 else f"{figure:.4g}"


def load_rules(path: Path = RULES) -> GateRules:
    """Read and validate a rules file.

    Raises:
        UsageError: naming the file, the line and the key.
    """
    top = read_yaml(path).keys(("schema", "timing", "least_placement", "metrics"))
    top["schema"].schema(SCHEMA)
    least = top["least_placement"].number(*SHARE_LIMITS)
    metrics = {
        name: _read_metric(node, name) for name, node in top["metrics"].keys(METRICS).items()
    }
    return GateRules(
        path, _read_timing(top["timing"]), least, {name: metrics[name] for name in METRICS}
    )


def _read_timing(node: YamlNode) -> TimingRules:
    found = node.keys((*TIMING_LIMITS, "looks", "processes"))
    figures = {key: found[key].number(*limits) for key, limits in TIMING_LIMITS.items()}
    looks = _read_looks(found["looks"])
    needed = math.ceil(math.log2(len(looks) / min(figures["alpha"], figures["beta"])))
    if looks[0] < needed:
        found["looks"].fail(
            f"the first of {len(looks)} looks must come at {needed} pairs or later: "
            f"{looks[0]} pairs cannot decide at these error rates"
        )
    processes = found["processes"].whole(1, MOST_PROCESSES)
    return TimingRules(**figures, looks=looks, processes=processes)


def _read_looks(node: YamlNode) -> tuple[int, ...]:
    value = node.value
    if (
        not isinstance(value, list)
        or not 0 < len(value) <= MOST_LOOKS
        or any(type(look) is not int or look < 1 for look in value)
        or sorted(set(value)) != value
    ):
        node.fail(f"'looks' must be a list of 1 to {MOST_LOOKS} rising counts of pairs")
    return tuple(value)


def _read_metric(node: YamlNode, name: str) -> MetricRule:
    found = node.keys(("unit", "factor", "slack", "reason"), ("may_be_zero",))
    return MetricRule(
        name,
        unit=found["unit"].text(),
        factor=found["factor"].number(*FACTOR_LIMITS),
        slack=found["slack"].number(*SLACK_LIMITS),
        may_be_zero=found["may_be_zero"].flag() if "may_be_zero" in found else False,
        reason=found["reason"].reason(),
    )


class GateFailure(ConformanceError):
    """The candidate is worse than the baseline, or one of them proves nothing."""


class GateUndecided(GateFailure):
    """Neither verdict on speed was reached; red under ``--gate-strict``, and never green."""
