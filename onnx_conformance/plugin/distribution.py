"""How pytest-xdist distributes conformance tests: tests that share work go to one worker."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from xdist.scheduler import LoadScopeScheduling

from onnx_conformance.core.case import Case


class ConformanceScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
    """``--dist load`` for conformance tests.

    The cases of a model share its float64 oracle, so they go to one worker. Where there are fewer
    models than workers, each case goes to one worker, because its tests share a session. Other
    tests are distributed by file, or one by one, as usual, in runs without conformance tests.

    Args:
        cases: the cases of the run.
    """

    def __init__(self, config: Any, log: Any, cases: Iterable[Case]) -> None:
        super().__init__(config, log)
        self._groups = groups(cases, self.numnodes)

    @cached_property
    def _has_conformance_tests(self) -> bool:
        return any(group_of(nodeid, self._groups) for nodeid in self.collection)

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self._groups) if self._has_conformance_tests else nodeid

    def remove_node(self, node: Any) -> str | None:
        """Take back what a worker that ended did not run; the test that ended it is returned.

        As by ``--dist load`` that test is not run again: it would end the next worker, too.
        """
        units = self.assigned_work[node].values()
        pending: list[tuple[dict[str, bool], str]] = [
            (unit, test) for unit in units for test, ran in unit.items() if not ran
        ]
        if not pending:
            super().remove_node(node)
            return None
        unit, crashed = pending[0]
        unit[crashed] = True
        super().remove_node(node)
        return crashed


def groups(cases: Iterable[Case], workers: int) -> dict[str, str]:
    """The start of a conformance test's id -> the group that shares a worker."""
    known = list(cases)
    models = {case.model: case.model for case in known}
    if len(models) < workers:
        return {case.id: case.id for case in known}
    return {**models, **{case.id: case.model for case in known}}


def scope_of(nodeid: str, known: dict[str, str]) -> str:
    """The group of a test; its file, if it belongs to none.

    A test in the wrong group costs time, but changes no verdict.
    """
    return group_of(nodeid, known) or nodeid.partition("::")[0]


def group_of(nodeid: str, known: dict[str, str]) -> str:
    """The group of a conformance test; empty for any other."""
    parameters = nodeid.partition("::")[2].partition("[")[2].removesuffix("]")
    found = [start for start in known if f"{parameters}-".startswith(f"{start}-")]
    return known[max(found, key=len)] if found else ""
