"""How pytest-xdist distributes conformance tests: tests that share work go to one worker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from xdist.scheduler import LoadScopeScheduling

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core.case import Case

LIGHT = ("python", "onnx")  # what these need is imported anyway
LAST_TESTS = 2  # of a worker, below which xdist gives it another group


class ConformanceScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
    """Distributes conformance tests, as ``--dist load`` does other tests.

    The cases of a model share its float64 oracle, so they go to one worker. Where there are fewer
    models than workers, each case goes to one worker, because its tests share a session. A worker
    that has started a framework, which takes seconds to import, gets more cases of it; for a single
    group it does not start one that another worker has started, and ends. Other tests are
    distributed by file, or one by one, as usual, in runs without conformance tests.

    Args:
        cases: the cases of the run.
    """

    def __init__(self, config: Any, log: Any, cases: Iterable[Case]) -> None:
        super().__init__(config, log)
        known = list(cases)
        self._groups = groups(known, self.numnodes)
        self._frameworks = frameworks(known)
        self._begun: dict[Any, set[str]] = {}  # by worker

    @cached_property
    def _has_conformance_tests(self) -> bool:
        return any(group_of(nodeid, self._groups) for nodeid in self.collection)

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self._groups) if self._has_conformance_tests else nodeid

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """Note what a worker collected; where a test stands in it is asked of every test."""
        super().add_node_collection(node, collection)
        if node in self.registered_collections:
            self.registered_collections[node] = IndexedIds(self.registered_collections[node])

    def _assign_work_unit(self, node: Any) -> None:
        scope = self._next(node)
        self._begun.setdefault(node, set()).add(self._frameworks.get(scope, ""))
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        if not (self._nearly_done(node) and self._leaves(node)):
            super()._reschedule(node)
        elif not node.shutting_down:
            node.shutdown()

    def _nearly_done(self, node: Any) -> bool:
        """Whether a worker is about to get another group, if one waits."""
        return bool(self.workqueue) and self._pending_of(self.assigned_work[node]) <= LAST_TESTS

    def _leaves(self, node: Any) -> bool:
        """Whether the next group is the last of a framework that only other workers have begun."""
        framework = self._frameworks.get(self._next(node), "")
        if not framework or framework in self._begun.get(node, set()):
            return False
        waiting = sum(self._frameworks.get(scope) == framework for scope in self.workqueue)
        return waiting == 1 and framework in self._begun_by_others(node)

    def _begun_by_others(self, node: Any) -> set[str]:
        """The frameworks of all other workers that will take more."""
        others = [n for n in self.assigned_work if n != node and not n.shutting_down]
        return {name for other in others for name in self._begun.get(other, ())}

    def _next(self, node: Any) -> str:
        """The next group of a worker: of a framework that it has begun, or that no other has."""
        own = self._begun.get(node, set())
        others = self._begun_by_others(node)
        of: dict[str, str] = {scope: self._frameworks.get(scope, "") for scope in self.workqueue}
        mine = (scope for scope, framework in of.items() if framework in own)
        new = (scope for scope, framework in of.items() if framework not in others)
        return next(mine, None) or next(new, None) or next(iter(of))

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """Note that a test ended; a group that ended is looked at no more."""
        scope = self._split_scope(self.registered_collections[node][item_index])
        super().mark_test_complete(node, item_index, duration)
        if all(self.assigned_work[node].get(scope, {}).values()):
            self.assigned_work[node].pop(scope, None)

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


class IndexedIds(list[str]):
    """Ids of tests; where one stands is known without a search."""

    def __init__(self, ids: Iterable[str]) -> None:
        super().__init__(ids)
        self._places = {name: place for place, name in enumerate(self)}

    def index(self, name: str, *_: Any) -> int:
        """The place of a test."""
        return self._places[name]


def frameworks(cases: Iterable[Case]) -> dict[str, str]:
    """Group -> the framework that its native side imports; none of models that are not known."""
    found: dict[str, str] = {}
    for case in cases:
        framework = MODELS[case.model].framework if case.model in MODELS else ""
        framework = "" if framework in LIGHT else framework
        found |= {case.model: framework, case.id: framework}
    return found


def by_model(cases: Iterable[Case], workers: int) -> bool:
    """Whether all cases of a model go to one worker: there is a model for each."""
    return len({case.model for case in cases}) >= workers


def groups(cases: Iterable[Case], workers: int) -> dict[str, str]:
    """The start of a conformance test's id -> the group that shares a worker."""
    known = list(cases)
    if not by_model(known, workers):
        return {case.id: case.id for case in known}
    models = {case.model: case.model for case in known}
    return {**models, **{case.id: case.model for case in known}}


def scope_of(nodeid: str, known: dict[str, str]) -> str:
    """The group of a test; its file, if it belongs to none.

    A test in the wrong group costs time, but changes no verdict.
    """
    return group_of(nodeid, known) or nodeid.partition("::")[0]


def group_of(nodeid: str, known: dict[str, str]) -> str:
    """The group of a conformance test; empty for any other."""
    start = nodeid.partition("::")[2].partition("[")[2].removesuffix("]")
    while start:
        if start in known:
            return known[start]
        start = start.rpartition("-")[0]
    return ""
