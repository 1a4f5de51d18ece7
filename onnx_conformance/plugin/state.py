"""State shared by pytest's hooks: the run, its workers, red cases, evidence."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.evidence import Evidence
from onnx_conformance.core.case import Case
from onnx_conformance.core.store import Store
from onnx_conformance.diagnose.localisation import Explainer
from onnx_conformance.perf.latency.certification import Certificates
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.plugin.collector import Collector
from onnx_conformance.plugin.kept_verdicts import KeptVerdicts
from onnx_conformance.plugin.registration import RegisteredNames
from onnx_conformance.run.run_workers import RunWorkers

RUN = pytest.StashKey[PerfRun]()
RUN_WORKERS = pytest.StashKey[RunWorkers]()
EVIDENCE = pytest.StashKey[Evidence]()
LAST_OF_CASE = pytest.StashKey[bool]()
EXPLAINER = pytest.StashKey[Explainer]()
CERTIFICATES = pytest.StashKey[Certificates]()
UNPLANNED_CASES = pytest.StashKey[dict[Case, set[str]]]()  # in a worker of xdist: to plan, by case
UPSTREAM = pytest.StashKey[tuple[str, ...]]()
RECORDS = pytest.StashKey[RegisteredNames]()
VERDICTS = pytest.StashKey[KeptVerdicts]()
RED_CASES = pytest.StashKey[dict[Case, str]]()


class Red(pytest.fail.Exception):  # type: ignore[name-defined,misc] # pytest hides its type
    """A failed verdict. Its message is complete, so pytest adds no traceback."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message, pytrace=False)
        self.reason = reason


Red.__module__ = "builtins"  # pytest's last lines say "Red: …", and not where the class lives


class KnownRed(Red):
    """The failed verdict that an entry of the known failures expects, with its message."""


def collector_of(config: pytest.Config) -> Collector:
    """The plugin that collects rows and writes the reports."""
    collector = config.pluginmanager.get_plugin("conformance-report")
    assert isinstance(collector, Collector)
    return collector


def run_workers(config: pytest.Config) -> RunWorkers:
    """The workers of the run, started when a test first needs one."""
    if RUN_WORKERS not in config.stash:
        run = config.stash[RUN]
        root = run.settings.cache_dir
        if run.temporary_cache:
            root = Path(tempfile.mkdtemp(prefix="conformance-"))
            config.add_cleanup(lambda: shutil.rmtree(root, ignore_errors=True))
        store = Store(root)
        config.add_cleanup(store.release)
        config.stash[RUN_WORKERS] = RunWorkers(run.settings, store, collector_of(config).clock)
        config.add_cleanup(config.stash[RUN_WORKERS].close)
    return config.stash[RUN_WORKERS]


def certificates(config: pytest.Config) -> Certificates:
    """The run's certificates, created when one is first needed."""
    if CERTIFICATES not in config.stash:
        config.stash[CERTIFICATES] = Certificates(config.stash[RUN], run_workers(config))
    return config.stash[CERTIFICATES]


def gpu_mark(case: Case) -> list[pytest.MarkDecorator]:
    """The markers of the case's provider."""
    return [getattr(pytest.mark, name) for name in PROVIDERS[case.provider].markers]
