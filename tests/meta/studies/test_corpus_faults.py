"""The fault corpus: its faults strike, are told apart from harmless rewrites, and have a story."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError

from onnx_conformance.core.errors import WorkerError
from onnx_conformance.run.worker_client import ProcessWorkerClient
from studies.corpus import FAULTS, Fault
from studies.corpus.drafts import Array, Draft
from studies.corpus.mutant_files import load_corpus, spread
from tests.meta.cpu_session import cpu_session
from tests.meta.tiny_graphs import GRAPHS

pytestmark = pytest.mark.slow

load_corpus()
LIMIT = 60.0  # seconds for a call
NOISE = 2e-6  # relative; what two right ways of computing the tiny graphs differ by
KINDS = 60
PLACES = 2
TOLD_BY_THE_FILE = ("structure", "batch")  # families whose faults need not change a value
RARE = ("sizes", "slots and state")  # need not show on these inputs: test_sizes_corpus.py
ALL = FAULTS.values()


@dataclass
class Runner:
    """Makes mutants of the tiny graphs and runs them in a worker."""

    worker: ProcessWorkerClient
    folder: Path
    right: dict[str, list[Array]] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)
    files: Iterator[int] = field(default_factory=count)

    def new_file(self) -> Path:
        """A file of its own for each mutant: the worker keeps sessions by their file's name."""
        return self.folder / f"mutant-{next(self.files)}.onnx"

    def draft(self, graph: str) -> Draft:
        """A tiny graph, its native weights beside it."""
        if graph not in self.drafts:
            model, weights = made(graph)
            onnx.save(model, self.folder / f"{graph}.onnx")
            self.drafts[graph] = Draft(self.folder / f"{graph}.onnx", weights)
        return self.drafts[graph]

    def outputs(self, path: Path, graph: str) -> list[Array]:
        """The file's outputs, one after another over all inputs."""
        request = cpu_session(path, "enable_basic")
        fed = [{"input": inputs} for inputs in input_sets(graph)]
        results = self.worker.call("run", LIMIT, session=request, input_sets=fed)
        if any("error" in result for result in results):
            raise WorkerError("run", str(results), "")
        return [array for result in results for array in result["outputs"].values()]

    def runs(self, path: Path, graph: str) -> bool:
        """Whether the file can be loaded and run on all inputs."""
        try:
            self.outputs(path, graph)
        except WorkerError:
            return False
        return True

    def expected(self, graph: str) -> list[Array]:
        """The outputs of the graph as it is."""
        if graph not in self.right:
            self.draft(graph)
            self.right[graph] = self.outputs(self.folder / f"{graph}.onnx", graph)
        return self.right[graph]


@cache
def made(graph: str) -> tuple[onnx.ModelProto, dict[str, Array]]:
    return GRAPHS[graph]()


@cache
def input_sets(graph: str) -> list[Array]:
    """Images of several sizes of value, shaped as the graph wants them."""
    generator = np.random.default_rng(0)
    dims = made(graph)[0].graph.input[0].type.tensor_type.shape.dim[1:]
    shape = (3, *(dim.dim_value for dim in dims))
    normal = [generator.normal(size=shape) * scale for scale in (1, 10, 300, 3e4, 1e6, 1e-3)]
    holed = np.where(generator.random(shape) < 0.1, np.nan, 1.0)
    kinds = [*normal, normal[0][:1], np.zeros(shape), -np.ones(shape), holed]
    return [kind.astype(np.float32) for kind in kinds]


def distance(right: list[Array], other: list[Array]) -> float:
    """The largest relative distance over all outputs; infinite where shapes or NaNs differ."""
    if len(right) != len(other):
        return np.inf
    return max(_distance(one, two) for one, two in zip(right, other, strict=True))


def _distance(right: Array, other: Array) -> float:
    if right.shape != other.shape or right.dtype != other.dtype:
        return np.inf
    finite = np.isfinite(right)
    if not np.array_equal(finite, np.isfinite(other)):
        return np.inf
    norm = np.linalg.norm(right[finite].astype(float))
    return float(np.linalg.norm(right[finite] - other[finite].astype(float)) / (norm or 1.0))


def is_told_by_the_file(path: Path, graph: str) -> bool:
    """Whether the checker refuses the file, or what a caller sees of it is not what it was."""
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, DecodeError):
        return True
    return interface(onnx.load(path)) != interface(made(graph)[0])


def interface(model: onnx.ModelProto) -> list[bytes]:
    """Inputs, outputs and operator sets."""
    values: list[Any] = [*model.graph.input, *model.graph.output, *model.opset_import]
    return [value.SerializeToString() for value in values]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with contextlib.closing(ProcessWorkerClient("onnxruntime", threads=1)) as worker:
        yield Runner(worker, tmp_path_factory.mktemp("corpus"))


def mutants(runner: Runner, fault: Fault) -> Iterator[tuple[str, str, Path, set[str]]]:
    """The fault's mutants of all tiny graphs: graph, place, file and what is blamed in vain."""
    for graph in GRAPHS:
        draft = runner.draft(graph)
        for site in spread(list(fault.sites(draft)), PLACES):
            mutant = draft.mutant()
            site.strike(mutant)
            path = runner.new_file()
            mutant.save(path)
            yield (
                graph,
                site.place,
                path,
                set(site.root_cause) - {node.name for node in mutant.nodes()},
            )


@pytest.mark.parametrize("fault", [f for f in ALL if f.verdict == "wrong"], ids=lambda f: f.name)
def test_wrong_conversion_is_another_function(runner: Runner, fault: Fault) -> None:
    struck = 0
    for graph, place, path, strangers in mutants(runner, fault):
        struck += 1
        where = f"{fault.name} at {place} of {graph}"
        assert not strangers, f"{where}: blames nodes that are not there: {strangers}"
        if fault.family in TOLD_BY_THE_FILE and is_told_by_the_file(path, graph):
            continue
        if fault.family in (*TOLD_BY_THE_FILE, *RARE) and not runner.runs(path, graph):
            continue
        if fault.family in RARE:
            continue
        found = runner.outputs(path, graph)
        assert distance(runner.expected(graph), found) > NOISE, f"{where}: no difference"
    if not struck:
        pytest.skip(f"{fault.name}: no site in the tiny graphs")


@pytest.mark.parametrize("fault", [f for f in ALL if f.verdict == "harmless"], ids=lambda f: f.name)
def test_harmless_rewrite_is_the_same_function(runner: Runner, fault: Fault) -> None:
    for graph, place, path, _ in mutants(runner, fault):
        found = distance(runner.expected(graph), runner.outputs(path, graph))
        assert found < 10 * NOISE, f"{fault.name} at {place} of {graph}: off by {found:.1e}"


def test_untouched_graphs_are_the_same_function(runner: Runner) -> None:
    for graph in GRAPHS:
        runner.expected(graph)
        path = runner.new_file()
        runner.draft(graph).mutant().save(path)
        assert distance(runner.expected(graph), runner.outputs(path, graph)) == 0


def test_corpus_has_enough_kinds() -> None:
    assert len([fault for fault in ALL if fault.verdict == "wrong"]) >= KINDS


def test_every_fault_is_documented() -> None:
    issue = r"https://github\.com/[^/]+/[^/]+/(issues|pull)/\d+"
    assert [f.name for f in ALL if not re.fullmatch(r"[a-z][a-z0-9_]+", f.name)] == []
    assert [f.name for f in ALL if len(f.story.split()) < 4] == []
    assert [f.link for f in ALL if f.link and not re.fullmatch(issue, f.link)] == []


@pytest.mark.parametrize("graph", GRAPHS)
def test_places_of_a_fault_have_names_of_their_own(runner: Runner, graph: str) -> None:
    for fault in ALL:
        places = [site.place for site in fault.sites(runner.draft(graph))]
        assert len(set(places)) == len(places), fault.name
