"""Every test that a case must pass, as a check and its arguments: one list for runs and the API.

pytest's tests are collected from the same marks; ``test_required_checks.py`` holds both together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from onnx_conformance.checks.registry import CHECKS, Check
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.spec import Case, ModelSpec
from onnx_conformance.inputs.families import DRAWN, fixed_axis, replayed
from onnx_conformance.inputs.strategies import foresee
from onnx_conformance.session.subject import Subject

FLAWS = ("name", "dtype", "rank", "size")


@dataclass(frozen=True)
class RequiredCheck:
    """One test that a case requires: a call of a check; ``label`` tells it from its others."""

    check: Check
    label: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    def run(self, subject: Subject) -> CheckResult:
        """The verdict on ``subject``."""
        return self.check.function(subject, **self.arguments)


def required_checks(
    model: ModelSpec, case: Case, seed: int, *, drawn: bool = True, examples: int | None = None
) -> Iterator[RequiredCheck]:
    """The tests that a case of a model requires, in the order of the checks.

    Args:
        drawn: the inputs that Hypothesis draws too.
        examples: how many recipes are drawn; None for as many as the profile in force says.
    """
    for check in CHECKS.values():
        if not check.required_tests(model, case):
            continue
        if check.name == "error_budget":
            for label, recipe in replayed(model.name, seed).items():
                yield RequiredCheck(check, label, {"recipe": recipe})
            for recipe in foresee(seed, examples) if drawn else ():
                yield RequiredCheck(check, str(recipe), {"recipe": recipe})
        elif check.name == "refusal":
            flaws = [flaw for flaw in FLAWS if flaw != "size" or fixed_axis(model)]
            yield from (RequiredCheck(check, flaw, {"flaw": flaw}) for flaw in flaws)
        else:
            yield RequiredCheck(check, "", check.example(seed))


def families_of(model: ModelSpec, case: Case) -> set[str]:
    """The input families that a case's required tests run, the drawn ones among them."""
    checks = [check for check in CHECKS.values() if check.required_tests(model, case)]
    drawn = {DRAWN for check in checks if check.name == "error_budget"}
    return drawn.union(*(check.input_sets for check in checks))
