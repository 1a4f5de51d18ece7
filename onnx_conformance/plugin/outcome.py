"""The outcome of a conformance test: passed with evidence, failed, known failure or skipped."""

from __future__ import annotations

import unittest
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Never, cast

import pytest

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.checks.evidence import (
    ConformanceFailure,
    Inconclusive,
    check_row,
    excused,
)
from onnx_conformance.checks.upstream_faults import explanations_of
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import (
    CapabilityMissing,
    ConformanceError,
    StageFailure,
    attempted,
    internal_error,
    where,
)
from onnx_conformance.diagnose.bundle import write_bundle
from onnx_conformance.diagnose.messages import failure_message, reproduce_command, summary_line
from onnx_conformance.perf.gate.rules import GateUndecided
from onnx_conformance.perf.latency.certification import NotCertified
from onnx_conformance.plugin.collection import (
    case_of,
    check_of,
    excluded_by_framework,
    plan_in_worker,
)
from onnx_conformance.plugin.state import (
    EVIDENCE,
    EXPLAINER,
    LAST_OF_CASE,
    RED_CASES,
    RUN,
    UPSTREAM,
    KnownRed,
    Red,
    collector_of,
    run_workers,
)
from onnx_conformance.run.live_subject import LiveSubject


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Note which test is the last of its case."""
    item.stash[LAST_OF_CASE] = nextitem is None or case_of(nextitem) != case_of(item)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what --framework leaves out or what is absent, with the reason; fail what is broken."""
    case = case_of(item)
    if case is not None:
        run, framework = item.config.stash[RUN], resolve_model(case.model).framework
        if excluded_by_framework(run, framework):
            pytest.skip(f"{framework}: left out by --framework {' '.join(run.frameworks)}")
        probe = run_workers(item.config).probe(case.provider)
        if not probe.usable:
            reason = f"{case.provider}: {probe.sentence}"
            if probe.broken:
                raise Red(f"{case.id}: {reason}", reason)
            pytest.skip(reason)
        red = item.config.stash[RED_CASES].get(case)
        if red is not None and run.settings.first_finding:
            pytest.skip(f"not run: {red} failed already (--first-finding)")
        plan_in_worker(item.config, case)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run a test. A stage that failed fails the first test that needed it; absences are skips."""
    case = case_of(pyfuncitem)
    if case is None:
        return (yield from _timed_call(pyfuncitem))
    with collector_of(pyfuncitem.config).clock.judging(case.id):
        return (yield from _judged_call(pyfuncitem, case))


def _judged_call(pyfuncitem: pytest.Function, case: Case) -> Generator[None, object, object]:
    """Run the test of a check, and see that it passes only with evidence."""
    collected = pyfuncitem.config.stash[EVIDENCE]
    collected.begin()
    try:
        _subject(pyfuncitem).artifact  # noqa: B018 - without it no verdict is about it
        with plain_failures(pyfuncitem):
            result = yield
    except CapabilityMissing as missing:
        collected.begin()  # what it recorded before is no verdict on what is missing
        pytest.skip(str(missing))
    except Inconclusive as open_question:
        pytest.skip(str(open_question))
    except unittest.SkipTest as skip:  # Hypothesis' own word for a test of which it ran nothing
        raise Red(f"{case.id}: {skip}", str(skip)) from None
    except (ConformanceFailure, StageFailure) as failure:
        _decide(pyfuncitem, case, failure)
    except Exception as error:
        internal = _internal(pyfuncitem, case, error)
        if internal is None:
            raise
        raise internal from None
    if collected.unheeded is not None:
        reason = f"the test ignored a check that failed: {collected.unheeded.reason}"
        raise Red(f"{case.id}: {reason}", reason)
    if not collected.recorded:
        reason = "the test compared nothing, so it cannot pass; hand a check's result to `evidence`"
        raise Red(f"{case.id}: {reason}", reason)
    return result


@contextmanager
def plain_failures(item: pytest.Item) -> Iterator[None]:
    """Describe failures meanwhile by their own text.

    Hypothesis asks the item to describe each example that fails. pytest would parse the source
    files of the traceback, at which Python 3.11 raises now and then while another thread works
    (python/cpython#106905): a red check became an internal error. The plugin words it anyway.
    """
    vars(item)["repr_failure"] = lambda excinfo: str(excinfo.value)
    try:
        yield
    finally:
        del vars(item)["repr_failure"]


def xfail(reason: str) -> Never:
    """End a test as ``pytest.xfail`` does, without a traceback, which nobody is shown.

    For one, pytest would parse source files: see :func:`plain_failures`.
    """
    raise pytest.xfail.Exception(reason, pytrace=False)


def _decide(item: pytest.Function, case: Case, failure: ConformanceFailure | StageFailure) -> Never:
    """Report a failure: an edge finding, known, reported by an earlier test already, or new."""
    run, collected = item.config.stash[RUN], item.config.stash[EVIDENCE]
    check = check_of(item)
    edge_cases = run.settings.edge_cases
    excuse = excused(_subject(item), check, failure, run.known_failures, edge_cases)
    if excuse is not None and excuse.outcome == "edge":
        collected.amend(excuse)
        _explain(item, failure)
        xfail(f"edge finding, which does not affect the verdict: {excuse.reason}")
    if excuse is not None:
        item.add_marker(pytest.mark.xfail(reason=excuse.reason, raises=KnownRed))
        raise KnownRed(f"{case.id}: {failure}", str(failure)) from None
    before = collected.first_report(failure, case, item.nodeid)
    if before is not None:
        pytest.skip(f"not run, for the reason that {before} reports: {failure}")
    item.config.stash[RED_CASES].setdefault(case, check)
    raise Red(_red_message(item, case, failure), str(failure)) from None


def _red_message(
    item: pytest.Function, case: Case, failure: ConformanceFailure | StageFailure
) -> str:
    """The message of a failure: what happened, where, known causes, and how to repeat it."""
    run = item.config.stash[RUN]
    command = reproduce_command(run, item.nodeid, case)
    divergence = None
    if isinstance(failure, ConformanceFailure):
        divergence = item.config.stash[EXPLAINER].explain(failure)
        item.config.stash[EVIDENCE].amend(failure.result)
    bundle = None
    if len(item.config.stash[RED_CASES]) <= run.bundles:
        bundle = attempted(
            lambda: write_bundle(run, command, failure, divergence), "write a repro bundle"
        )
    return failure_message(case, failure, command, bundle, _explain(item, failure))


def _internal(item: pytest.Function, case: Case, error: Exception) -> Red | None:
    """The failure that an error of the suite itself causes; None for any other error."""
    reason = internal_error(error, check_of(item))
    if reason is None:
        return None
    item.config.stash[EVIDENCE].begin()  # what it recorded before is no verdict
    item.config.stash[RED_CASES].setdefault(case, check_of(item))
    command = reproduce_command(item.config.stash[RUN], item.nodeid, case)
    lines = [f"{case.id}: {reason}", *where(error), f"reproduce: {command}"]
    return Red("\n  ".join(lines), reason)


def _subject(item: pytest.Item) -> LiveSubject:
    """The case of a conformance test."""
    return cast(LiveSubject, getattr(item, "funcargs")["subject"])  # noqa: B009 - of functions alone


def _explain(item: pytest.Function, failure: ConformanceError) -> tuple[str, ...]:
    """Known upstream causes of a failure, kept for its row too. They excuse nothing."""
    subject, check = _subject(item), check_of(item)
    explanations = (
        attempted(lambda: explanations_of(subject, check, failure), "explain a failure") or ()
    )
    item.stash[UPSTREAM] = explanations
    return explanations


def _timed_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Report a test that has no result: failed, or skipped for what the machine lacks."""
    if not (pyfuncitem.get_closest_marker("latency") or pyfuncitem.get_closest_marker("gate")):
        return (yield)
    try:
        return (yield)
    except (CapabilityMissing, GateUndecided) as missing:
        pytest.skip(str(missing))
    except NotCertified as known:
        xfail(str(known))
    except ConformanceError as failure:
        raise Red(str(failure), str(failure)) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave a row for the reports in the test's own report, which crosses xdist."""
    report = yield
    case = case_of(item)
    if case is None or (report.when != "call" and report.passed):
        return report
    crash = getattr(report.longrepr, "reprcrash", None)
    if call.excinfo is not None and isinstance(call.excinfo.value, Red) and crash is not None:
        crash.message = summary_line(str(call.excinfo.value))  # pytest's last lines, and JUnit
    summary = item.config.stash[EVIDENCE].summary() if report.when == "call" else None
    row = check_row(case, check_of(item), summary, call.duration)
    if call.excinfo is not None and not row["reason"]:
        error = call.excinfo.value
        row["reason"] = error.reason if isinstance(error, Red) else str(error)
    upstream: tuple[str, ...] = item.stash.get(UPSTREAM, ())
    row["upstream"] = list(upstream)
    if item.stash.get(LAST_OF_CASE, False):
        row["facts"] = run_workers(item.config).known_facts(case)
        if case not in item.config.stash[RED_CASES] and report.passed:
            found = item.config.stash[EXPLAINER].survey(_subject(item))
            row["facts"]["divergence"] = found.as_dict() if found else None
        row["probes"] = run_workers(item.config).known_probes()
    report.user_properties.append(("conformance", row))
    return report
