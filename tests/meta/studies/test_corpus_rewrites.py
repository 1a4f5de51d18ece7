"""Harmless rewrites of the corpus: each has a site here and computes what the graph computed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_conformance.run.worker_client import ProcessWorkerClient
from studies.corpus import FAULTS, Fault
from studies.corpus.drafts import Array, Draft
from studies.corpus.mutant_files import load_corpus, spread
from studies.detection.bases import FAMILIES_OF_SMALL
from tests.meta.cpu_session import cpu_session
from tests.meta.tiny_graphs import Net

pytestmark = pytest.mark.slow

load_corpus()
LIMIT = 60.0  # seconds for a call
ROUNDING = 2e-6  # relative; what two right ways of computing these graphs differ by
PLACES = 3
KINDS = 30
# Those of state and boxes have sites in models of their own: test_sizes_corpus.py.
REWRITES = [
    fault
    for fault in FAULTS.values()
    if fault.verdict == "harmless" and fault.family not in FAMILIES_OF_SMALL
]


def as_torch_writes() -> onnx.ModelProto:
    """Biases and pads inside of layers, attributes spelled out, Gemm, Flatten."""
    net = Net(11)
    plain: dict[str, Any] = {"group": 1, "strides": [1, 1], "dilations": [1, 1]}
    stem = net.add("Relu", net.conv("input", 6, 3, 3, 3, pads=[1] * 4, **plain))
    x = net.add("Relu", net.conv(stem, 6, 6, 1, 1))
    x = net.add("Relu", net.conv(x, 6, 1, 3, 3, group=6, pads=[1] * 4))
    x = net.add("Relu", net.add("Add", net.conv(x, 6, 6, 3, 3, pads=[1] * 4), stem))
    x = net.norm(net.conv(x, 8, 6, 1, 1, bias=False, strides=[2, 2]), 8)
    kernel, nothing = net.constant(net.normal(8, 8, 1, 1)), net.constant(np.zeros(8))
    x = net.add("Relu", net.add("Conv", net.add("Relu", x), kernel, nothing))
    x = net.add("MaxPool", x, kernel_shape=[2, 2])
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    x = net.dense(net.add("Relu", net.dense(x, 6, 8)), 5, 6)
    model = net.model(x, (3, 8, 8), 14)
    return onnx.shape_inference.infer_shapes(model)


def as_tensorflow_writes() -> onnx.ModelProto:
    """Biases and pads in nodes of their own, shared bounds, Constant nodes, MatMul, ReduceMean."""
    net = Net(12)
    zero, six = net.constant(0.0), net.constant(6.0)
    mean, spread_of_pixels = net.constant(net.normal(3)), net.constant(np.array([0.5, 2.0, 0.25]))
    x = net.add("Div", net.add("Sub", "input", mean), spread_of_pixels)
    x = net.add("Transpose", x, perm=[0, 3, 1, 2])
    x = net.add("Pad", x, net.constant(np.array([0, 0, 0, 0, 0, 0, 1, 1]), np.int64))
    x = net.conv(x, 6, 3, 3, 3, bias=False, strides=[2, 2])
    x = net.add("Clip", net.add("Add", x, net.constant(net.normal(6, 1, 1))), zero, six)
    scale = net.add("Constant", value=onnx.numpy_helper.from_array(np.float32(1.5), "scale"))
    x = net.add("Mul", net.add("Clip", x, zero, six), scale)
    x = net.add("Mul", net.add("Sigmoid", x), x)
    x = net.add("ReduceMean", x, net.constant(np.array([2, 3]), np.int64), keepdims=1)
    x = net.add("Squeeze", x, net.constant(np.array([2, 3]), np.int64))
    same = net.normal(6, 6)
    for weight in (net.constant(same), net.constant(same)):
        x = net.add("Add", net.add("MatMul", x, weight), net.constant(net.normal(6)))
    logits = net.add("MatMul", net.add("Relu", x), net.constant(net.normal(6, 5)))
    return net.model(net.add("Softmax", logits, axis=-1), (8, 8, 3), 18)


GRAPHS = {"torch": as_torch_writes(), "tensorflow": as_tensorflow_writes()}


def input_sets(graph: str) -> list[dict[str, Array]]:
    """Batches of three and of one, of ordinary and of large values."""
    dims = GRAPHS[graph].graph.input[0].type.tensor_type.shape.dim[1:]
    generator = np.random.default_rng(0)
    draw = partial(generator.normal, size=(3, *(dim.dim_value for dim in dims)))
    kinds = [draw(), 100 * draw(), draw()[:1], np.zeros_like(draw())]
    return [{"input": kind.astype(np.float32)} for kind in kinds]


class Judge:
    """Runs files in a worker and compares them with the graph they were made from."""

    def __init__(self, worker: ProcessWorkerClient, folder: Path) -> None:
        self._worker, self._folder = worker, folder
        for graph, model in GRAPHS.items():
            onnx.save(model, folder / f"{graph}.onnx")
        self.drafts = {graph: Draft(folder / f"{graph}.onnx") for graph in GRAPHS}
        self._right = {graph: self._run(folder / f"{graph}.onnx", graph) for graph in GRAPHS}
        self._files = 0

    def distances(self, fault: Fault) -> dict[str, float]:
        """By how much the fault's mutants err, over all inputs, for each graph and place."""
        found = {}
        for graph, draft in self.drafts.items():
            for site in spread(list(fault.sites(draft)), PLACES):
                self._files += 1
                mutant, path = draft.mutant(), self._folder / f"mutant-{self._files}.onnx"
                site.strike(mutant)
                mutant.save(path)
                pairs = zip(self._right[graph], self._run(path, graph), strict=True)
                found[f"{graph}: {site.place}"] = max(_distance(*pair) for pair in pairs)
        return found

    def _run(self, path: Path, graph: str) -> list[Array]:
        request = cpu_session(path, "enable_basic")
        results = self._worker.call("run", LIMIT, session=request, input_sets=input_sets(graph))
        assert not [result for result in results if "error" in result]
        return [result["outputs"]["output"] for result in results]


def _distance(right: Array, other: Array) -> float:
    if (right.shape, right.dtype) != (other.shape, other.dtype) or not np.isfinite(other).all():
        return float("inf")
    return float(np.linalg.norm(right - other) / np.linalg.norm(right))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with contextlib.closing(ProcessWorkerClient("onnxruntime", threads=1)) as worker:
        yield Judge(worker, tmp_path_factory.mktemp("rewrites"))


@pytest.mark.parametrize("fault", REWRITES, ids=lambda fault: fault.name)
def test_rewrite_has_a_site_and_is_the_same_function(judge: Judge, fault: Fault) -> None:
    found = judge.distances(fault)
    assert found, "no graph here has a site for this rewrite: add an operator to one"
    assert {place: error for place, error in found.items() if error > ROUNDING} == {}


@pytest.mark.parametrize("name", ["element_doubled", "channels_rolled", "branch_scaled"])
def test_a_fault_is_not_taken_for_a_rewrite(judge: Judge, name: str) -> None:
    found = judge.distances(FAULTS[name])
    assert found
    assert min(found.values()) > ROUNDING


def test_there_are_enough_kinds_of_rewrites() -> None:
    assert len(REWRITES) >= KINDS
