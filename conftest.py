"""pytest wiring only: options, markers, profiles, parametrisation, fixtures and hooks."""

from __future__ import annotations

import unittest
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.checks.evidence import (
    ConformanceFailure,
    Evidence,
    Inconclusive,
    check_row,
    edge_finding,
)
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.checks.upstream_faults import explanations_of, shipped_faults
from onnx_conformance.core.errors import (
    CapabilityMissing,
    ConformanceError,
    StageFailure,
    UsageError,
)
from onnx_conformance.core.internal_errors import attempted, internal_error, where
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import Case
from onnx_conformance.diagnose.bundle import write_bundle
from onnx_conformance.diagnose.messages import failure_message, header, reproduce_command
from onnx_conformance.diagnose.on_failure import Explainer
from onnx_conformance.inputs.families import replayed
from onnx_conformance.inputs.found_recipes import found_recipes
from onnx_conformance.inputs.photographs import photographs
from onnx_conformance.perf.gate.outcomes import Undecided
from onnx_conformance.perf.latency.certification import NotProved
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.plugin import options as conformance_options
from onnx_conformance.plugin.collector import Collector
from onnx_conformance.plugin.run import make_run
from onnx_conformance.plugin.state import (
    EVIDENCE,
    EXPLAINER,
    LAST_OF_CASE,
    PENDING,
    RED_CASES,
    RUN,
    UPSTREAM,
    KnownRed,
    Red,
    collector_of,
    conformance_session,
    gpu_mark,
)
from onnx_conformance.session.known_failures import find, operators_of
from onnx_conformance.session.live_subject import LiveSubject
from onnx_conformance.session.worker_queue import Clock

pytest_plugins = ("onnx_conformance.plugin.latency", "onnx_conformance.plugin.gate")


def pytest_addoption(parser: pytest.Parser) -> None:
    conformance_options.add_options(parser.getgroup("conformance", "onnx-conformance"))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a GPU execution provider")
    config.addinivalue_line("markers", "gate: compares with a baseline; runs with --gate")
    config.addinivalue_line("markers", "latency: times; runs when timings are asked for")
    config.addinivalue_line(
        "markers",
        "check(name, inputs=None, cases=None, where=None): a test's conformance check, and, where "
        "not the usual, its input families, its cases, and which models it is for",
    )
    try:
        project().load()
        conformance_options.register_profiles(Path(config.getoption("cache_dir")))
        conformance_options.load_profile(profile_of(config))
        config.stash[RUN] = make_run(config)
        found_recipes("")  # a malformed file is told before anything starts
        shipped_faults()
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[EVIDENCE] = Evidence()
    config.stash[RED_CASES] = {}
    config.stash[EXPLAINER] = Explainer(config.stash[RUN].localize)
    clock = Clock()
    collector = Collector(config, config.stash[RUN], clock)
    config.pluginmanager.register(collector, "conformance-report")


def pytest_report_header(config: pytest.Config) -> list[str]:
    return header(config.stash[RUN], profile_of(config))


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """What the probes of the collected cases' providers found: of no other is one asked."""
    if config.option.collectonly:
        return []
    run = config.stash[RUN]
    cases = [case for case in map(case_of, items) if case is not None]
    judged = [case for case in cases if not left_out(run, resolve_model(case.model).framework)]
    names = dict.fromkeys(case.provider for case in judged)
    told = [f"{name}: {conformance_session(config).probe(name).words}" for name in names]
    collector_of(config).told.update(told)
    return [f"provider {words}" for words in told]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("check")
    if marker is None:
        return
    run = metafunc.config.stash[RUN]
    if "pinned_name" in metafunc.fixturenames:  # found recipes are for some models
        metafunc.parametrize(
            ("subject", "pinned_name"),
            [
                pytest.param(
                    case,
                    name,
                    id=f"{case.id}-{name}",
                    marks=_case_marks(run, case, marker.args[0]),
                )
                for case in _cases(run, marker)
                for name in replayed(case.model, run.settings.seed)
            ],
            indirect=["subject"],
            scope="session",
        )
    elif "subject" in metafunc.fixturenames:
        metafunc.parametrize(
            "subject",
            [
                pytest.param(case, id=case.id, marks=_case_marks(run, case, marker.args[0]))
                for case in _cases(run, marker)
            ],
            indirect=True,
            scope="session",
        )
    if "photograph" in metafunc.fixturenames:
        metafunc.parametrize("photograph", photographs(run.images), ids=lambda p: p.name)


def profile_of(config: pytest.Config) -> str:
    """The Hypothesis profile: ours by default, also where Hypothesis would choose by itself."""
    return str(config.getoption("hypothesis_profile", None) or "default")


def _cases(run: PerfRun, marker: pytest.Mark) -> list[Case]:
    """The cases of a test: its own, where the run's choice admits them, or those of the run.

    ``where(model, weights)`` says which models a test is for.
    """
    own = map(run.selection.placed, marker.kwargs.get("cases", run.cases))
    cases = [case for case in own if run.selection.admits(case)]
    if marker.args[0] in CHECKS:
        check = CHECKS[marker.args[0]]
        cases = [case for case in cases if check.suits(resolve_model(case.model), case)]
    where = marker.kwargs.get("where")
    if where is None:
        return cases
    return [case for case in cases if where(resolve_model(case.model), run.settings.weights)]


def _case_marks(run: PerfRun, case: Case, check: str) -> list[pytest.MarkDecorator]:
    marks = gpu_mark(case)
    known = find(run.known_failures, case, check)
    if known is not None:
        marks.append(pytest.mark.xfail(reason=str(known), strict=True, raises=KnownRed))
    return marks


def pytest_itemcollected(item: pytest.Item) -> None:
    function = getattr(item, "obj", None)
    if item.get_closest_marker("check") and hypothesis.is_hypothesis_test(function):
        hypothesis.seed(item.config.stash[RUN].settings.seed)(function)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Case by case: a case's verdict is complete early, and its session open once.

    Within a case the checks of the file come first: they cost least and say most.
    """
    homeless = [item for item in items if _left_out(item)]
    if homeless:
        items[:] = [item for item in items if item not in homeless]
        config.hook.pytest_deselected(items=homeless)
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


def _left_out(item: pytest.Item) -> bool:
    """A test that no case or row of this run is for, or that only timings keep out."""
    gated, gate = item.get_closest_marker("gate"), item.config.stash[RUN].gate
    if gated or gate:
        return not (gated and gate)
    if item.get_closest_marker("latency"):
        timing = item.config.stash[RUN].timing
        speedup = "required" in getattr(item, "fixturenames", ())
        return not timing.wanted or (speedup and not timing.minimum_speedups)
    if item.config.getoption("benchmark_only"):
        return True
    return bool(item.get_closest_marker("check")) and case_of(item) is None


def left_out(run: PerfRun, framework: str) -> bool:
    """Whether --framework names others; what needs no framework is never left out."""
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
    if session.config.option.collectonly:
        return
    needs: dict[Case, set[str]] = {}
    counts: Counter[Case] = Counter()
    for item in session.items:
        case, marker = case_of(item), item.get_closest_marker("check")
        if case is not None and marker is not None:
            families = marker.kwargs.get("input_sets", CHECKS[marker.args[0]].input_sets)
            needs.setdefault(case, set()).update(families)
            counts[case] += 1
    try:
        collector_of(session.config).begin(counts)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    run = session.config.stash[RUN]
    wanted = {
        case: families
        for case, families in needs.items()
        if not left_out(run, resolve_model(case.model).framework)
    }
    if not (wanted and run.settings.ahead):
        return
    if hasattr(session.config, "workerinput"):
        session.config.stash[PENDING] = wanted
    else:
        # what cannot be computed ahead fails once more, and is told, in the test that needs it
        attempted(lambda: conformance_session(session.config).plan(wanted), "compute ahead")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of ``-n N`` alone; who names another ``--dist`` gets it."""
    if config.getvalue("dist") != "load":
        return None
    from onnx_conformance.plugin.distribution import ConformanceScheduling

    return ConformanceScheduling(config, log, config.stash[RUN].cases)


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> LiveSubject:
    """The case of this test, on the session's session."""
    tolerances = request.config.stash[RUN].tolerances
    return LiveSubject(request.param, conformance_session(request.config), tolerances)


@pytest.fixture(scope="session")
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Where a test hands in its result: ``evidence(subject, check_...(subject))``."""
    return request.config.stash[EVIDENCE]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    item.stash[LAST_OF_CASE] = nextitem is None or case_of(nextitem) != case_of(item)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is left out skips by name; an absent provider in the probe's words; a broken is red."""
    case = case_of(item)
    if case is not None:
        run, framework = item.config.stash[RUN], resolve_model(case.model).framework
        if left_out(run, framework):
            pytest.skip(f"{framework}: left out by --framework {' '.join(run.frameworks)}")
        probe = conformance_session(item.config).probe(case.provider)
        if not probe.usable:
            told = f"{case.provider}: {probe.words}"
            if probe.broken:
                raise Red(f"{case.id}: {told}", told)
            pytest.skip(told)
        red = item.config.stash[RED_CASES].get(case)
        if red is not None and run.settings.first_finding:
            pytest.skip(f"not run: {red} is red already (--first-finding)")
        families = item.config.stash.get(PENDING, {}).pop(case, None)
        if families is not None:
            conformance_session(item.config).plan({case: families})


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """A stage that failed is red once, in the first test that needed it; absences are skips."""
    case = case_of(pyfuncitem)
    if case is None:
        return (yield from _timed_call(pyfuncitem))
    collected = pyfuncitem.config.stash[EVIDENCE]
    collected.begin()
    try:
        pyfuncitem.funcargs["subject"].artifact  # noqa: B018 - without it no verdict is about it
        result = yield
    except (CapabilityMissing, Inconclusive) as missing:
        pytest.skip(str(missing))
    except unittest.SkipTest as skip:  # Hypothesis' own word for a test of which it ran nothing
        raise Red(f"{case.id}: {skip}", str(skip)) from None
    except (ConformanceFailure, StageFailure) as failure:
        run = pyfuncitem.config.stash[RUN]
        nodes = operators_of(pyfuncitem.funcargs["subject"])
        known = find(run.known_failures, case, check_of(pyfuncitem), nodes)
        foretold = str(known) if known is not None and known.explains(failure) else ""
        edge = edge_finding(failure, check_of(pyfuncitem), run.settings.edge_cases, foretold)
        if edge is not None:
            collected.amend(edge)
            _explain(pyfuncitem, failure)
            pytest.xfail(f"edge finding, which decides nothing: {edge.reason}")
        if foretold:
            pyfuncitem.add_marker(pytest.mark.xfail(reason=str(known), raises=KnownRed))
            raise KnownRed(f"{case.id}: {failure}", str(failure)) from None
        before = collected.first_report(failure, case, pyfuncitem.nodeid)
        if before is not None:
            pytest.skip(f"not reached, as told by {before}: {failure}")
        command = reproduce_command(run, pyfuncitem.nodeid, case)
        red = pyfuncitem.config.stash[RED_CASES]
        red.setdefault(case, check_of(pyfuncitem))
        divergence = None
        if isinstance(failure, ConformanceFailure):
            divergence = pyfuncitem.config.stash[EXPLAINER].explain(failure)
            collected.amend(failure.result)
        bundle = None
        if len(red) <= run.bundles:
            told = failure
            bundle = attempted(
                lambda: write_bundle(run, command, told, divergence), "write a repro bundle"
            )
        upstream = _explain(pyfuncitem, failure)
        message = failure_message(case, failure, command, bundle, upstream)
        raise Red(message, str(failure)) from None
    except Exception as error:
        reason = internal_error(error, check_of(pyfuncitem))
        if reason is None:
            raise
        collected.begin()  # what it recorded before is no verdict
        pyfuncitem.config.stash[RED_CASES].setdefault(case, check_of(pyfuncitem))
        command = reproduce_command(pyfuncitem.config.stash[RUN], pyfuncitem.nodeid, case)
        lines = [f"{case.id}: {reason}", *where(error), f"reproduce: {command}"]
        raise Red("\n  ".join(lines), reason) from None
    unheeded = collected.unheeded
    if unheeded is not None:
        reason = f"the test passed over a red check: {unheeded.reason}"
        raise Red(f"{case.id}: {reason}", reason)
    if not collected.recorded:
        reason = "the test ended without evidence: it compared nothing"
        raise Red(f"{case.id}: {reason}", reason)
    return result


def _explain(item: pytest.Function, failure: ConformanceError) -> tuple[str, ...]:
    """What is known upstream of a failure, kept for its row as well; it excuses nothing."""
    subject, check = item.funcargs["subject"], check_of(item)
    told = attempted(lambda: explanations_of(subject, check, failure), "explain a failure") or ()
    item.stash[UPSTREAM] = told
    return told


def _timed_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """What has no result is red, or skipped for what the machine lacks."""
    if not (pyfuncitem.get_closest_marker("latency") or pyfuncitem.get_closest_marker("gate")):
        return (yield)
    try:
        return (yield)
    except (CapabilityMissing, Undecided) as missing:
        pytest.skip(str(missing))
    except NotProved as known:
        pytest.xfail(str(known))
    except ConformanceError as failure:
        raise Red(str(failure), str(failure)) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Leave a row for the reports in the test's own report, which crosses xdist."""
    report = yield
    case = case_of(item)
    if case is None or (report.when != "call" and report.passed):
        return report
    summary = item.config.stash[EVIDENCE].summary() if report.when == "call" else None
    row = check_row(case, check_of(item), summary, call.duration)
    if call.excinfo is not None and not row["reason"]:
        error = call.excinfo.value
        row["reason"] = error.reason if isinstance(error, Red) else str(error)
    row["upstream"] = list(item.stash.get(UPSTREAM, ()))
    if item.stash.get(LAST_OF_CASE, False):
        row["facts"] = conformance_session(item.config).known_facts(case)
        if case not in item.config.stash[RED_CASES] and report.passed:
            found = item.config.stash[EXPLAINER].survey(item.funcargs["subject"])
            row["facts"]["divergence"] = found.as_dict() if found else None
        row["probes"] = conformance_session(item.config).known_probes()
    report.user_properties.append(("conformance", row))
    return report
