"""The suite's options, markers and profiles, validated before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.evidence import Evidence
from onnx_conformance.checks.upstream_faults import shipped_faults
from onnx_conformance.core.documents import ShardRecord
from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.files import PROGRAM
from onnx_conformance.core.project import project
from onnx_conformance.core.registry import registering
from onnx_conformance.core.store import Store
from onnx_conformance.diagnose.localisation import Explainer
from onnx_conformance.diagnose.messages import NOT_HERE, header
from onnx_conformance.inputs.recipes import found_recipes
from onnx_conformance.inputs.strategies import DEFAULT_EXAMPLES
from onnx_conformance.inputs.tasks import TASKS
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.plugin.collection import case_of, excluded_by_framework, limit_processes
from onnx_conformance.plugin.collector import Collector
from onnx_conformance.plugin.kept_verdicts import KeptVerdicts
from onnx_conformance.plugin.options import options
from onnx_conformance.plugin.registration import SHARED_RECORDS, adopt_records, shared_records
from onnx_conformance.plugin.run_basis import chosen_tests, run_basis
from onnx_conformance.plugin.run_options import make_run
from onnx_conformance.plugin.state import (
    EVIDENCE,
    EXPLAINER,
    RECORDS,
    RED_CASES,
    RUN,
    VERDICTS,
    collector_of,
    run_workers,
)
from onnx_conformance.run.clock import Clock


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options, in a group of their own."""
    try:
        group = parser.getgroup("conformance", "onnx-conformance")
        for option in options():
            option.add_to(group.addoption)
    except UsageError as error:  # what the project says in pyproject.toml
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read and validate what was asked for."""
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
        register_profiles(Path(config.getoption("cache_dir")))
        load_profile(profile_of(config))
        registries = (PROVIDERS, MODELS, TASKS)
        records, take_back = registering(lambda: adopt_records(config), *registries)
        config.add_cleanup(take_back)
        config.stash[RECORDS] = records
        config.stash[RUN] = make_run(config, records)
        found_recipes("")  # a malformed file is told before anything starts
        shipped_faults()
        _refuse_no_model(config)
    except (CapabilityMissing, UsageError) as error:
        raise pytest.UsageError(str(error)) from error
    run = config.stash[RUN]
    limit_processes(config)
    config.stash[EVIDENCE] = Evidence()
    config.stash[RED_CASES] = {}
    config.stash[EXPLAINER] = Explainer(run.localize)
    config.add_cleanup(lambda: _prune(config, run))  # after all others, which are added later
    clock = Clock()
    collector = Collector(config, run, clock, _shard_record(config, run))
    config.pluginmanager.register(collector, "conformance-report")
    config.stash[VERDICTS] = KeptVerdicts(config, run, collector.started)
    config.pluginmanager.register(config.stash[VERDICTS], "conformance-verdicts")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker of xdist is given what this process has looked at."""
    if not node.config.getoption("evaluation_data"):  # of which a task is made
        node.workerinput[SHARED_RECORDS] = shared_records(node.config.stash[RECORDS])


def _prune(config: pytest.Config, run: PerfRun) -> None:
    if not (run.cache_limit is None or config.option.collectonly or hasattr(config, "workerinput")):
        Store(run.settings.cache_dir).prune(run.cache_limit)


def _shard_record(config: pytest.Config, run: PerfRun) -> ShardRecord | None:
    """What joins the results of this shard with the others', by the code that is there now."""
    if run.shard is None:
        return None
    tests, folders = chosen_tests(config)
    return run.shard.record(
        {**run_basis(config, run, folders), "chosen tests": tests}, run.required
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The settings and versions of this run, for pytest's header."""
    run = config.stash[RUN]
    judged = [
        case
        for case in run.cases
        if not excluded_by_framework(run, resolve_model(case.model).framework)
    ]
    return header(run, judged, profile_of(config))


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """What the probes found; only the providers of the collected cases are probed."""
    if config.option.collectonly:
        return []
    run = config.stash[RUN]
    cases = [case for case in map(case_of, items) if case is not None]
    judged = [
        case
        for case in cases
        if not excluded_by_framework(run, resolve_model(case.model).framework)
    ]
    names = dict.fromkeys(case.provider for case in judged)
    probes = {name: run_workers(config).probe(name) for name in names}
    collector_of(config).reported.update(
        f"{name}: {probe.sentence}" for name, probe in probes.items()
    )
    asked = run.selection.providers
    lines, absent = [], []
    for name, probe in probes.items():
        if probe.usable or probe.broken or name in asked:
            lines.append(f"provider {name}: {probe.sentence}")
        else:
            absent.append(name)
    collector_of(config).leave_out(absent)
    return lines + ([f"providers {', '.join(absent)}: {NOT_HERE}"] if absent else [])


def profile_of(config: pytest.Config) -> str:
    """The Hypothesis profile: this suite's default, even where Hypothesis would choose another."""
    return str(config.getoption("hypothesis_profile", None) or "default")


def _refuse_no_model(config: pytest.Config) -> None:
    """A project that registers no model must name one."""
    if not (config.option.help or config.stash[RUN].cases or [*MODELS]):
        raise UsageError(
            f"no model to certify: name a Python file with @register_model functions, such as "
            f"my_models.py ('{PROGRAM} new-model my_net' writes one), or modules that register "
            "some in [tool.onnx-conformance] register of pyproject.toml"
        )


# -- Hypothesis profiles ---------------------------------------------------------------------------

PROFILES = {"default": DEFAULT_EXAMPLES, "ci": 20, "thorough": 300}  # examples of a drawn test


def load_profile(name: str) -> None:
    """Choose a Hypothesis profile.

    Raises:
        UsageError: there is no such profile.
    """
    if name not in PROFILES:
        known = ", ".join(PROFILES)
        raise UsageError(f"--hypothesis-profile {name}: no such profile; known: {known}")
    settings.load_profile(name)


def register_profiles(cache_dir: Path) -> None:
    """Hypothesis profiles; the example database lives with the cache."""
    database = DirectoryBasedExampleDatabase(cache_dir / "examples")
    for name, examples in PROFILES.items():
        if examples < 1:
            raise UsageError(
                f"profile {name} has max_examples={examples}; drawn tests need at least 1"
            )
        settings.register_profile(
            name,
            max_examples=examples,
            database=database,
            # workers compute in seconds what Hypothesis expects in milliseconds
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            print_blob=True,
            verbosity=Verbosity.normal,
        )
