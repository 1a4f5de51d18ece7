"""Which tests a run contains, case by case, and their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from _pytest.mark import ParameterSet

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import CapabilityMissing, UsageError, attempted
from onnx_conformance.inputs.families import replayed
from onnx_conformance.inputs.photographs import photographs
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.plugin.state import (
    RUN,
    UNPLANNED_CASES,
    VERDICTS,
    KnownRed,
    collector_of,
    gpu_mark,
    run_workers,
)
from onnx_conformance.run.known_failures import find_known_failure

WHOLE_MODELS = "conformance_whole_models"  # in what a worker of pytest-xdist is given


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise a conformance test with the cases that it applies to."""
    marker = metafunc.definition.get_closest_marker("check")
    if marker is None:
        return
    if not _named(metafunc):
        return
    run = metafunc.config.stash[RUN]
    if "subject" in metafunc.fixturenames:
        names = ["subject", *(["pinned_name"] if "pinned_name" in metafunc.fixturenames else [])]
        parameters = [
            pytest.param(
                case,
                *pinned,
                id="-".join((case.id, *pinned)),
                marks=_case_marks(run, case, marker.args[0]),
            )
            for case in _cases(run, marker)
            for pinned in _pinned_names(run, case, wanted=len(names) > 1)
        ]
        metafunc.parametrize(names, parameters, indirect=["subject"], scope="session")
    if "photograph" in metafunc.fixturenames:
        metafunc.parametrize("photograph", _photographs(run))


def _pinned_names(run: PerfRun, case: Case, *, wanted: bool) -> list[tuple[str, ...]]:
    """The names of the pinned and found recipes of a case, one a test; or one test without."""
    return [(name,) for name in replayed(case.model, run.settings.seed)] if wanted else [()]


def _named(metafunc: pytest.Metafunc) -> bool:
    """Whether the command line selects the test, or at least does not select others of its file.

    pytest makes every test of a file, and drops those that were not named: of thousands of cases
    that takes a minute.
    """
    named = [str(place).partition("[")[0].split("::") for place in metafunc.config.args]
    own = {metafunc.definition.originalname, getattr(metafunc.cls, "__name__", None)}
    return any(len(parts) == 1 or own & {*parts[1:]} for parts in named)


def _photographs(run: PerfRun) -> list[ParameterSet]:
    """The photographs to run; a single skipped one where the bundled ones are not installed."""
    try:
        return [pytest.param(found, id=found.name) for found in photographs(run.images)]
    except CapabilityMissing as missing:
        return [pytest.param(None, id="none", marks=pytest.mark.skip(reason=str(missing)))]


def _cases(run: PerfRun, marker: pytest.Mark) -> list[Case]:
    """The cases of a test: its own, as far as the run selects them, or those of the run.

    ``where(model, weights)`` says to which models a test applies.
    """
    marked = map(run.selection.placed, marker.kwargs.get("cases", run.cases))
    cases = [case for case in marked if run.selection.admits(case)]
    if run.shard is not None:
        cases = [case for case in cases if run.shard.admits(case)]
    if marker.args[0] in CHECKS:
        check = CHECKS[marker.args[0]]
        cases = [case for case in cases if check.suits(resolve_model(case.model), case)]
    where = marker.kwargs.get("where")
    if where is None:
        return cases
    return [case for case in cases if where(resolve_model(case.model), run.settings.weights)]


def _case_marks(run: PerfRun, case: Case, check: str) -> list[pytest.MarkDecorator]:
    marks = gpu_mark(case)
    known = find_known_failure(run.known_failures, case, check)
    if known is not None:
        marks.append(pytest.mark.xfail(reason=str(known), strict=True, raises=KnownRed))
    return marks


def pytest_itemcollected(item: pytest.Item) -> None:
    """Make the run's seed determine the drawn inputs."""
    function = getattr(item, "obj", None)
    if function is None or not item.get_closest_marker("check"):
        return
    if hypothesis.is_hypothesis_test(function):
        hypothesis.seed(item.config.stash[RUN].settings.seed)(function)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Sort the tests by case, so that each verdict is complete early and each session opens once.

    Within a case the checks of the file come first: they are the cheapest and the most specific.
    """
    excluded = [item for item in items if _is_not_of_this_run(item)]
    if excluded:
        items[:] = [item for item in items if item not in excluded]
        config.hook.pytest_deselected(items=excluded)
    yield
    order: dict[Case | None, int] = {
        case: place for place, case in enumerate(config.stash[RUN].cases)
    }
    for item in items:
        order.setdefault(case_of(item), len(order))  # cases that a test brought itself
    rank = {name: place for place, name in enumerate(CHECKS)}
    items.sort(
        key=lambda item: (order[case_of(item)], rank[check_of(item)] if case_of(item) else 0)
    )


def _is_not_of_this_run(item: pytest.Item) -> bool:
    """Whether a test has no case or row in this run, or does not belong to a timing run."""
    gated, gate = item.get_closest_marker("gate"), item.config.stash[RUN].gate
    if gated or gate:
        return not (gated and gate)
    if item.get_closest_marker("latency"):
        timing = item.config.stash[RUN].timing
        asks_for_minimum = "required" in getattr(item, "fixturenames", ())
        return not timing.wanted or (asks_for_minimum and not timing.minimum_speedups)
    if item.config.getoption("benchmark_only", None):
        return True
    return bool(item.get_closest_marker("check")) and case_of(item) is None


def excluded_by_framework(run: PerfRun, framework: str) -> bool:
    """Whether --framework leaves a model out; models that need no framework never are."""
    return bool(run.frameworks) and framework not in (*run.frameworks, "python", "onnx")


def case_of(item: pytest.Item) -> Case | None:
    """The case of a conformance test, or None for any other."""
    if item.get_closest_marker("check") is None:
        return None
    case = getattr(item, "callspec").params.get("subject")  # noqa: B009 - only functions have it
    return case if isinstance(case, Case) else None


def check_of(item: pytest.Item) -> str:
    """The name of a conformance test's check."""
    marker = item.get_closest_marker("check")
    assert marker is not None
    return str(marker.args[0])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Submit what the selected tests will need to the workers."""
    if session.config.option.collectonly:
        return
    needs: dict[Case, set[str]] = {}
    tests: dict[Case, list[pytest.Item]] = {}
    for item in session.items:
        case, marker = case_of(item), item.get_closest_marker("check")
        if case is not None and marker is not None:
            families = marker.kwargs.get("families", CHECKS[marker.args[0]].families)
            needs.setdefault(case, set()).update(families)
            tests.setdefault(case, []).append(item)
    try:
        collector_of(session.config).begin({case: len(items) for case, items in tests.items()})
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    run = session.config.stash[RUN]
    taken = _resumed_cases(session.config, tests)
    wanted = {
        case: families
        for case, families in needs.items()
        if case not in taken and not excluded_by_framework(run, resolve_model(case.model).framework)
    }
    if not (wanted and run.settings.ahead):
        return
    if hasattr(session.config, "workerinput"):
        session.config.stash[UNPLANNED_CASES] = wanted
    else:
        # what cannot be computed ahead fails again in the test that needs it, which reports it
        attempted(lambda: run_workers(session.config).plan(wanted), "compute ahead")


def _resumed_cases(config: pytest.Config, tests: dict[Case, list[pytest.Item]]) -> set[Case]:
    """The cases whose verdicts ``--resume`` takes from earlier runs."""
    if not tests or config.stash[RUN].temporary_cache:
        return set()
    return config.stash[VERDICTS].expect(run_workers(config), tests)


def plan_in_worker(config: pytest.Config, case: Case) -> None:
    """In a worker of xdist, submit what a case needs, and with it the cases that will follow.

    A worker knows no more than the test that it runs; of a model it gets all cases or one.
    """
    pending = config.stash.get(UNPLANNED_CASES, {})
    if case not in pending:
        return
    whole = getattr(config, "workerinput")[WHOLE_MODELS]  # noqa: B009 - of workers alone
    chosen = [one for one in pending if one == case or (whole and one.model == case.model)]
    run_workers(config).plan({one: pending.pop(one) for one in chosen})


def _distributed(config: pytest.Config) -> bool:
    """Whether ``-n N`` was given without ``--dist``, or ``--tx`` with what it needs, ``-d``.

    Any other ``--dist`` that is named is kept.
    """
    asked = config.known_args_namespace  # xdist puts `load` into the options where there is none
    named = asked.dist != "no" or asked.distload
    by_tx = bool(asked.tx) and not asked.numprocesses
    return config.getvalue("dist") == "load" and (by_tx or not named)


def limit_processes(config: pytest.Config) -> None:
    """Have pytest-xdist start no more workers than there are cases: the others would idle.

    A single worker stays one: who asks for it may want its crash to end no more than a test.
    """
    if not (config.getoption("numprocesses", None) and _distributed(config)):
        return
    run = config.stash[RUN]
    cases = sum(run.shard is None or run.shard.admits(case) for case in run.cases)
    config.option.tx = config.option.tx[: max(cases, 1)]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist whether it gets all cases of a model."""
    from onnx_conformance.plugin.distribution import by_model

    cases, workers = node.config.stash[RUN].cases, node.workerinput["workercount"]
    node.workerinput[WHOLE_MODELS] = _distributed(node.config) and by_model(cases, workers)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute conformance tests by what they share."""
    if not _distributed(config):
        return None
    from onnx_conformance.plugin.distribution import ConformanceScheduling

    return ConformanceScheduling(config, log, config.stash[RUN].cases)
