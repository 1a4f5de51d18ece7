"""The registry of checks: functions ``check_<name>(subject, ...) -> CheckResult`` without pytest.

Registering a check takes the name of its negative control: a wrong conversion that it must
turn red, in words that the control names (:mod:`onnx_conformance.checks.controls`).
``tests/meta/checks/test_controls.py`` runs them all. :func:`required_checks` lists the tests that
a case must pass, for runs and the API (``tests/meta/inputs/test_required_checks.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, TypeVar, cast

from onnx_conformance.checks.controls import CONTROLS
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.registry import Registry
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import FLOAT32, PRECISIONS, ROUNDED
from onnx_conformance.inputs.families import DRAWN
from onnx_conformance.inputs.strategies import foresee
from onnx_conformance.run.subject import Subject

CheckFunction = Callable[..., CheckResult]
Calls = Callable[[ModelSpec, int], dict[str, dict[str, Any]]]
FAITHFUL = (FLOAT32, *ROUNDED)  # the classes whose every number is near native's
FLOAT32_WEIGHTS = (FLOAT32, "tf32")  # those whose files and inputs keep float32
F = TypeVar("F", bound=CheckFunction)
PLAIN_CASE = Case("simple_net", "torch_torchscript", 14, "cpu")


def _every_model(model: ModelSpec) -> bool:
    return True


def _one_call(model: ModelSpec, seed: int) -> dict[str, dict[str, Any]]:
    return {"": {}}


@dataclass(frozen=True)
class Check:
    """A registered check.

    Args:
        control: the negative control's name.
        families: the input families that it runs.
        calls: the arguments of each of its calls on a model, given the seed, by a label that tells
            the calls apart.
        drawn: beside these, Hypothesis draws recipes for it (its argument ``recipe``), in one test.
        case: the case on which the control is tried.
        required: whether a case that ran fewer of its calls is incomplete; not for a check that
            only some tests ask for.
        where: which models it is for; the others do not require it.
        precisions: which classes of precision require it.
        providers: which providers' cases require it; empty for all.
        malformed: its inputs are such as a session must refuse.
        localised: a failure of it is an error of values on inputs, which has a place in the graph.
        edge: its inputs are edge cases (no samples, NaN and infinity, denormals), which an export
            cannot fix: a failure is reported and does not affect the verdict, unless
            ``--edge-cases=fail``.
    """

    name: str
    function: CheckFunction
    control: str
    families: tuple[str, ...] = ()
    calls: Calls = _one_call
    drawn: bool = False
    case: Case = PLAIN_CASE
    required: bool = True
    where: Callable[[ModelSpec], bool] = _every_model
    precisions: tuple[str, ...] = PRECISIONS
    providers: tuple[str, ...] = ()
    malformed: bool = False
    edge: bool = False
    localised: bool = False

    @property
    def deployed(self) -> bool:
        """Whether its inputs are such as a deployed model is fed.

        A known failure of another check is reported of a timing and does not forbid it.
        """
        return not (self.edge or self.malformed)

    def suits(self, model: ModelSpec, case: Case) -> bool:
        """Whether it is for such a case of the model."""
        asked = not self.providers or case.provider in self.providers
        return asked and case.precision in self.precisions and self.where(model)

    def required_tests(self, model: ModelSpec, case: Case) -> int:
        """How many tests of it a case of a model requires."""
        if not (self.required and self.suits(model, case)):
            return 0
        return len(self.calls(model, 0)) + self.drawn

    def judge(self, subject: Subject) -> CheckResult:
        """The result of its first call that does not pass; of its last where all pass."""
        for arguments in self.calls(subject.model, subject.seed).values():
            result = self.function(subject, **arguments)
            if not result.passed:
                break
        return result


# In the order in which a case's tests run: what costs least and says most comes first.
_MODULES = (
    "structure", "initializers", "placement", "liveness", "function", "steps",
    "equivalent_calls", "generation", "sweep", "whole_numbers", "unoptimised", "determinism",
    "closeness", "robustness", "precision", "task", "export_options", "photographs", "canary",
)  # fmt: skip
CHECKS: Registry[Check] = Registry(
    "check", tuple(f"onnx_conformance.checks.{module}" for module in _MODULES)
)


def register_check(*, control: str, **traits: Any) -> Callable[[F], F]:
    """Register ``check_<name>``, whose results bear this name from then on.

    Args:
        control: the wrong conversion that it must turn red.
        traits: further fields of :class:`Check`.

    Raises:
        UsageError: the control is not registered, or does not say how this check tells of it.
    """

    def decorate(check: F) -> F:
        name = check.__name__.removeprefix("check_")
        if name not in CONTROLS[control].says:
            raise UsageError(
                f"negative control '{control}' does not say which words of check '{name}' report "
                f"it; add {name}='…' to its decorator"
            )

        @wraps(check)
        def named(*args: Any, **kwargs: Any) -> CheckResult:
            return replace(check(*args, **kwargs), name=name)

        CHECKS.register(name, Check(name, named, control, **traits))
        return cast("F", named)

    return decorate


# -- what a case requires --------------------------------------------------------------------------


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
        for label, arguments in check.calls(model, seed).items():
            yield RequiredCheck(check, label, arguments)
        for recipe in foresee(seed, examples) if check.drawn and drawn else ():
            yield RequiredCheck(check, str(recipe), {"recipe": recipe})


def families_of(model: ModelSpec, case: Case, *, drawn: bool = True) -> set[str]:
    """The input families that a case's required tests run; ``drawn`` as of required_checks."""
    checks = [check for check in CHECKS.values() if check.required_tests(model, case)]
    of_drawn = {DRAWN for check in checks if check.drawn and drawn}
    return of_drawn.union(*(check.families for check in checks))
