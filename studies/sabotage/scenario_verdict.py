"""Judge a scenario: what turned red, in which words, and what plain allclose would have said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.core.errors import CapabilityMissing, StageFailure
from onnx_conformance.inputs.families import materialise, pinned
from onnx_conformance.run.subject import Subject
from studies.sabotage import RightOf, Scenario, Suite

PLAIN = {"rtol": 1e-5, "atol": 1e-5}
PLAIN_INPUT_SETS = {"batch 1": "normal", "batch 4": "image"}
NOT_ASKED = "not asked"
SHOWN = 160  # letters of a message in the table


@dataclass(frozen=True)
class Outcome:
    """How a scenario ended.

    Args:
        red: whether anything was red.
        named: whether what was red said the scenario's words.
        where: the checks or the stage that turned red, or a run's exit status.
        says: the telling line, or all that was said if none was telling.
        plain: what ``np.allclose(got, native, 1e-5, 1e-5)`` says of the same outputs.
    """

    scenario: Scenario
    red: bool
    named: bool
    where: str
    says: str
    plain: str


def judge(scenario: Scenario, right_of: RightOf, folder: Path, cache: Path) -> Outcome:
    """Play a scenario and judge it."""
    if scenario.kind == "run":
        return _judge_run(scenario, Suite(folder, cache))
    return _judge_answer(scenario, scenario.act(right_of, folder))


def _judge_answer(scenario: Scenario, subject: Subject) -> Outcome:
    lines = list(red_lines(subject, scenario.check))
    translation_errors = [line for _, line in lines if scenario.message in line]
    where = list(dict.fromkeys(name for name, _ in lines))
    says = translation_errors[0] if translation_errors else " | ".join(line for _, line in lines)
    return Outcome(
        scenario,
        bool(lines),
        bool(translation_errors),
        ", ".join(where),
        says,
        plain_allclose(subject),
    )


def red_lines(subject: Subject, only: str = "") -> Iterator[tuple[str, str]]:
    """(check or stage, line) of all that is red, of the checks that are required, or of one."""
    for check in CHECKS.values():
        if check.name != only if only else not check.required_tests(subject.model, subject.case):
            continue
        try:
            result = check.judge(subject)
        except StageFailure as failure:
            yield failure.stage, str(failure)
            continue
        if result.outcome == "failed":
            yield from ((check.name, line) for line in (result.reason, *result.details))


def plain_allclose(subject: Subject) -> str:
    """The tutorial's verdict: outputs one by one in their order, broadcasting as NumPy does."""
    said = {batch: _plain_verdict(subject, name) for batch, name in PLAIN_INPUT_SETS.items()}
    verdicts = list(dict.fromkeys(said.values()))
    if len(verdicts) == 1:
        return verdicts[0]
    return ", ".join(f"{verdict} at {batch}" for batch, verdict in said.items())


def _plain_verdict(subject: Subject, name: str) -> str:
    inputs = materialise(pinned(subject.seed)[name], subject.model)
    try:
        native, outputs = subject.native(inputs), subject.run(inputs).outputs
    except (StageFailure, CapabilityMissing):
        outputs = None
    if outputs is None:
        return "raises"
    try:
        pairs = zip(outputs.values(), native.values(), strict=False)
        close = [bool(np.allclose(got, wanted, **PLAIN)) for got, wanted in pairs]
    except ValueError:  # shapes that do not broadcast
        return "raises"
    return "passes" if all(close) else "fails"


def _judge_run(scenario: Scenario, suite: Suite) -> Outcome:
    run = scenario.act(suite)
    lines = [line.strip() for line in run.text.splitlines() if scenario.message in line]
    says = lines[0] if lines else run.text[-2000:]
    return Outcome(
        scenario, run.status != 0, bool(lines), f"exit status {run.status}", says, NOT_ASKED
    )
