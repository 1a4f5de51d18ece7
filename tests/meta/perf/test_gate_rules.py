"""The gate's rules file: valid as shipped, every slip named by line, and figures judged by it."""

import math

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.perf.gate.rules import METRICS, RULES, judge_metric, load_rules

GOOD = RULES.read_text(encoding="utf-8")
KIB, MIB = 2**10, 2**20


def test_the_shipped_file_is_valid():
    rules = load_rules()
    assert tuple(rules.metrics) == METRICS
    assert rules.timing.threshold == 0.10
    assert rules.timing.processes > 1
    assert rules.least_placement == 0.95
    assert all(rule.reason for rule in rules.metrics.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema: 1", "schema: 2", "line 2: 'schema' must be 1"),
        ("factor: 1.05", "factor: -1.05", "'factor' must be a number from 1 to 100, not -1.05"),
        ("factor: 1.05", "faktor: 1.05", "unknown key 'faktor' in 'artifact_size'"),
        ("    slack: 65536\n", "", "'slack' is missing in 'artifact_size'"),
        ("slack: 65536", "slack: -1", "'slack' must be a number from 0 to"),
        ("node_count:", "nodes:", "unknown key 'nodes' in 'metrics'"),
        ("may_be_zero: true", "may_be_zero: 1", "'may_be_zero' must be true or false"),
        ("alpha: 0.01", "alpha: 0.5", "'alpha' must be a number from"),
        ("  beta: 0.01\n", "", "'beta' is missing in 'timing'"),
        ("looks: [10,", "looks: [9,", "the first of 10 looks must come at 10 pairs or later"),
        ("looks: [10, 15,", "looks: [15, 10,", "'looks' must be a list of 1 to 100 rising"),
        ("looks: [10,", "looks: [10.5,", "'looks' must be a list"),
        ("  processes: 3\n", "", "'processes' is missing in 'timing'"),
        ("processes: 3", "processes: 0", "'processes' must be a whole number from 1 to 20"),
        (
            "least_placement: 0.95",
            "least_placement: 95",
            "'least_placement' must be a number from 0 to",
        ),
        ("least_placement: 0.95", "", "'least_placement' is missing in the file"),
        ("metrics:", "metrics: 3\nothers:", "unknown key 'others' in the file"),
    ],
)
def test_a_slip_is_named(tmp_path, old, new, message):
    assert old in GOOD
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UsageError, match=message) as caught:
        load_rules(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reason", ["", "    reason: just so\n"])
def test_a_metric_needs_a_reason(tmp_path, reason):
    begin = GOOD.index("    reason: >-\n      Weights")
    end = GOOD.index("  node_count:")
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD[:begin] + reason + GOOD[end:])
    with pytest.raises(UsageError, match="'reason'"):
        load_rules(path)


@pytest.mark.parametrize(
    ("metric", "baseline", "candidate", "outcome"),
    [
        ("score", 1.0, 1.9, "ok"),
        ("score", 1.0, 2.1, "red"),
        ("score", 0.1, 0.5, "ok"),  # five times, within the slack
        ("score", 0.0, 0.0, "ok"),
        ("score", 0.0, 0.6, "red"),
        ("artifact_size", 100 * KIB, 160 * KIB, "ok"),
        ("artifact_size", 100 * MIB, 104 * MIB, "ok"),
        ("artifact_size", 100 * MIB, 106 * MIB, "red"),
        ("node_count", 10, 12, "ok"),
        ("node_count", 100, 111, "red"),
        ("peak_memory", 100 * MIB, 130 * MIB, "ok"),
        ("peak_memory", 1000 * MIB, 1200 * MIB, "red"),
        ("session_creation", 0.01, 0.05, "ok"),
        ("session_creation", 0.2, 0.31, "red"),
        ("session_creation", 0.2, 0.1, "ok"),
        ("node_count", None, 10, "not measured"),
        ("node_count", 10, None, "not measured"),
        ("node_count", 0, 10, "not measured"),
        ("peak_memory", 1e9, 0, "not measured"),
        ("score", math.nan, 1.0, "not measured"),
        ("score", 1.0, math.nan, "not measured"),
        ("score", 1.0, math.inf, "not measured"),
        ("score", math.inf, 1.0, "not measured"),
        ("score", -1.0, 1.0, "not measured"),
    ],
)
def test_a_figure_is_judged(metric, baseline, candidate, outcome):
    found = judge_metric(load_rules().metrics[metric], baseline, candidate)
    assert found.outcome == outcome
    assert found.red is (outcome != "ok")
    assert found.sentence.startswith(metric.replace("_", " "))
