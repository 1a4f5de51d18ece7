"""Verdicts of earlier runs: what a case's tests reported is kept, and ``--resume`` takes it.

A case is kept in the cache as soon as its last test has ended, if none of them is red: red cases
run again. It is taken where everything that its verdict rests on is as it was: code, options,
versions, provider and the very files.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.checks.certificate import basis_of
from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import ProbeFacts
from onnx_conformance.core.errors import attempted
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.store import key_of
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.plugin.run_basis import machine_basis, run_basis
from onnx_conformance.run.run_workers import RunWorkers

KIND = "judged"
REPORTS = "reports.json.gz"


@dataclass
class _CaseReports:
    """What the tests of a case of this run reported.

    Args:
        key: content key of everything but its files.
        left: ids of the tests that have not ended.
        reports: of those that have, as plain data, in their order.
        red, judged: whether one of them is, or is no skip.
    """

    key: str
    left: set[str]
    reports: list[dict[str, Any]] = field(default_factory=list)
    red: bool = False
    judged: bool = False


class KeptVerdicts:
    """A pytest plugin of the process that runs the tests, which is a worker under pytest-xdist.

    Args:
        started: when the run began, as its results say.
    """

    def __init__(self, config: pytest.Config, run: PerfRun, started: str) -> None:
        self._config = config
        self._run = run
        self._started = started
        self._workers: RunWorkers | None = None
        self._cases: dict[Case, _CaseReports] = {}
        self._case_of: dict[str, Case] = {}
        self._taken: dict[str, list[dict[str, Any]]] = {}

    def expect(self, workers: RunWorkers, tests: dict[Case, list[pytest.Item]]) -> set[Case]:
        """Note what will be judged, by the code that is there now; the cases that are taken.

        Args:
            tests: the selected tests of each case.
        """
        self._workers, run = workers, self._run
        folders = {item.path.parent for items in tests.values() for item in items}
        whole = key_of(**run_basis(self._config, run, folders), **machine_basis())
        for case, items in tests.items():
            ids = [item.nodeid for item in items]
            own = basis_of(
                case, resolve_model(case.model), run.tolerances, run.settings, run.known_failures
            )
            key = key_of(**own, row=case.as_row(), tests=ids, whole=whole)
            if not (run.resume and self._take(case, key, ids)):
                self._cases[case] = _CaseReports(key, set(ids))
                self._case_of |= dict.fromkeys(ids, case)
        return tests.keys() - self._cases.keys()

    def _take(self, case: Case, key: str, ids: list[str]) -> bool:
        """Whether a verdict was kept under this key, of these files and of this provider."""
        assert self._workers is not None
        entry = self._workers.store.peek(KIND, key)
        if entry is None or not all(map(_unchanged, entry.facts["files"].items())):
            return False
        if entry.facts["probe"] != _timeless(self._workers.probe(case.provider).as_facts()):
            return False
        reports: dict[str, list[dict[str, Any]]] = {name: [] for name in ids}
        for report in json.loads(gzip.decompress((entry.path / REPORTS).read_bytes())):
            for name, row in report["user_properties"]:
                if name == "conformance":
                    row["resumed"] = entry.facts["started"]
            reports[report["nodeid"]].append(report)
        self._taken |= reports
        return True

    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """In place of a test whose verdict is taken, its reports."""
        if item.nodeid not in self._taken:
            return None
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for data in self._taken.pop(item.nodeid):
            report = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=data
            )
            hook.pytest_runtest_logreport(report=report)
        item.session._setupstate.teardown_exact(nextitem)  # of the test that ran before it
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a test reports."""
        case = self._case_of.get(report.nodeid)
        if case is None:
            return
        kept = self._cases[case]
        kept.red = kept.red or report.failed
        kept.judged = kept.judged or (report.when == "call" and not _skipped(report))
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        kept.reports.append(data)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Keep a case once its last test has ended."""
        case = self._case_of.pop(nodeid, None)
        if case is None:
            return
        self._cases[case].left.discard(nodeid)
        if not self._cases[case].left:
            found = self._cases.pop(case)
            attempted(lambda: self._keep(case, found), "keep a verdict")

    def _keep(self, case: Case, found: _CaseReports) -> None:
        assert self._workers is not None
        files = self._workers.known_files(case)
        probe = self._workers.known_probes().get(case.provider)
        if found.red or not (found.judged and files and probe):
            return

        def write(directory: Path) -> dict[str, Any]:
            text = json.dumps(found.reports).encode()
            (directory / REPORTS).write_bytes(gzip.compress(text, 6, mtime=0))
            record = {"case": case.id, "started": self._started}
            return {**record, "files": files, "probe": _timeless(probe)}

        self._workers.store.get_or_build(KIND, found.key, write)


def _skipped(report: pytest.TestReport) -> bool:
    return report.skipped and not hasattr(report, "wasxfail")


def _timeless(probe: ProbeFacts) -> dict[str, Any]:
    return {key: value for key, value in probe.items() if key != "seconds"}


def _unchanged(found: tuple[str, str]) -> bool:
    path, digest = Path(found[0]), found[1]
    return path.is_file() and file_digest(path) == digest
