"""Agreement of an ONNX file's float64 computation with ONNX Runtime, node by node.

Every node of the graph is computed in float64 on the inputs that it has in ONNX Runtime, which
runs the graph in its own precision and without optimisation, and the two results are compared.
Where an evaluator gives an operator another meaning (an older opset's, a training mode), its error
would count as float32's and widen the error budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.compute_modes import EPSILONS, FLOAT32
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.onnx_file import bodies_of, every_node
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.workers.built_model import FileOracle
from onnx_conformance.workers.onnx.evaluator import (
    Evaluator,
    Operator,
    domain_of,
    evaluator_of,
    tensors_of,
    widened,
)
from onnx_conformance.workers.onnx.older_operators import is_older
from onnx_conformance.workers.onnx.precision import NoDouble, doubled

LONGEST_ERROR = 200  # characters of an evaluator's own words that are kept
# Operators whose approximations err by a share of 1: their bounds in tolerances.yaml.
ABSOLUTE = {"Sigmoid": "sigmoid", "Elu": "elu", "Selu": "elu", "Celu": "elu"}


@dataclass(frozen=True)
class Disagreement:
    """A node whose float64 result is not what ONNX Runtime computes."""

    node: onnx.NodeProto
    reason: str

    @property
    def operator(self) -> Operator:
        """Domain and type of the node."""
        return domain_of(self.node), self.node.op_type

    @property
    def holds_graphs(self) -> bool:
        """Whether it is one of If, Loop and Scan, which no kernel computes alone."""
        return bool(bodies_of(self.node))

    def __str__(self) -> str:
        name = f" '{self.node.name}'" if self.node.name else ""
        return f"{_label(self.operator)}{name}: {self.reason}"


def find_oracle(
    model: onnx.ModelProto, input_sets: Sequence[Outputs], threads: int | None
) -> FileOracle:
    """Find a float64 computation of ``model`` that agrees with ONNX Runtime at every node.

    Operators on which ``onnx.reference``, with the definitions of the operators' history,
    disagrees are computed by ONNX Runtime's float64 kernels, if these agree.

    Args:
        inputs: inputs by name, in the file's own dtypes.
    """
    by_runtime: frozenset[Operator] = frozenset()
    try:
        wide = doubled(model)
        truths = [_all_tensors(model, inputs, threads) for inputs in input_sets]
        while True:
            found = _disagreements(model, wide, by_runtime, truths)
            if not found:
                return FileOracle(by_runtime, "", _basis(model, by_runtime, len(input_sets)))
            again = [one for one in found if one.operator in by_runtime or one.holds_graphs]
            if again:
                return without_oracle(str(again[0]), by_runtime)
            by_runtime |= {one.operator for one in found}
    except NoDouble as error:
        return without_oracle(str(error))
    except Exception as error:  # noqa: BLE001 - whatever an evaluator or a kernel may raise
        return without_oracle(_short(error))


def without_oracle(problem: str, by_runtime: frozenset[Operator] = frozenset()) -> FileOracle:
    """The result for a file that has no float64 computation."""
    return FileOracle(
        by_runtime,
        problem,
        "judged by allclose, against the file's own float32 answers (ONNX Runtime, no graph "
        f"optimization): no float64 computation of it agrees with ONNX Runtime ({problem})",
    )


def _basis(model: onnx.ModelProto, by_runtime: frozenset[Operator], count: int) -> str:
    remedy = (
        "judged against float64: onnx.reference, which agrees with ONNX Runtime (no graph "
        f"optimization) at every node on {count} inputs"
    )
    older = sorted(
        {
            _label((domain_of(node), node.op_type))
            for node in every_node(model)
            if is_older(domain_of(node), node.op_type, _opset(model, domain_of(node)))
            and (domain_of(node), node.op_type) not in by_runtime
        }
    )
    remedy += f"; by the definition of their own opset: {', '.join(older)}" if older else ""
    kernels = ", ".join(sorted(map(_label, by_runtime)))
    return remedy + (f"; by ONNX Runtime's float64 kernels: {kernels}" if kernels else "")


def _opset(model: onnx.ModelProto, domain: str) -> int:
    versions: dict[str, int] = {
        "" if e.domain == "ai.onnx" else e.domain: e.version for e in model.opset_import
    }
    return versions.get(domain, 1)


def _label(operator: Operator) -> str:
    return ".".join(part for part in operator if part)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST_ERROR]}"


def _all_tensors(model: onnx.ModelProto, inputs: Outputs, threads: int | None) -> dict[str, Any]:
    """Every tensor of the main graph as ONNX Runtime computes it, inputs too."""
    known = {value.name for value in (*model.graph.output, *model.graph.input)}
    made = [name for node in model.graph.node for name in node.output if name and name not in known]
    names = [*(value.name for value in model.graph.output), *made]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    return {**inputs, **tensors_of(whole, names, inputs, threads)}


def _disagreements(
    model: onnx.ModelProto,
    wide: onnx.ModelProto,
    by_runtime: frozenset[Operator],
    truths: Sequence[Mapping[str, Any]],
) -> list[Disagreement]:
    """The nodes that are computed differently, the first of each operator."""
    double, narrow = evaluator_of(wide, by_runtime), evaluator_of(model, by_runtime)
    found: dict[Operator, Disagreement] = {}
    for truth in truths:
        exact = {**double.rt_inits_, **{name: widened(value) for name, value in truth.items()}}
        plain = {**narrow.rt_inits_, **truth}
        for place, node in enumerate(model.graph.node):
            reason = _reason(double, narrow, place, exact, plain)
            if reason:
                one = Disagreement(node, reason)
                found.setdefault(one.operator, one)
    return list(found.values())


def _reason(
    double: Evaluator, narrow: Evaluator, place: int, exact: dict[str, Any], plain: dict[str, Any]
) -> str | None:
    """Why the float64 result of a node is not of the function that ONNX Runtime computes."""
    names = list(double.rt_nodes_[place].output)
    try:
        results = _computed(double, place, exact)
    except Exception as error:  # noqa: BLE001 - whatever an evaluator or a kernel may raise
        return _short(error)
    for at, (name, result) in enumerate(zip(names, results, strict=False)):
        if not name or not isinstance(plain.get(name), np.ndarray):
            continue
        least = absolute_error(double.rt_nodes_[place].onnx_node)
        problem = _difference(plain[name], result, least)
        if problem:
            factor = _rules()["oracle"]["noise_factor"]
            least = max(least, factor * _noise(narrow, place, plain, at, result))
            problem = _difference(plain[name], result, least)
        if problem:
            return problem
    return None


def _computed(evaluator: Evaluator, place: int, values: dict[str, Any]) -> Sequence[Any]:
    node = evaluator.rt_nodes_[place]
    inputs = [values[name] if name else None for name in node.input]
    with np.errstate(all="ignore"):
        found: Sequence[Any] = (
            node.run(*inputs, context=values) if node.need_context() else node.run(*inputs)
        )
    return found


@lru_cache
def _rules() -> dict[str, dict[str, float]]:
    return load_tolerances(TOLERANCES).defaults


def absolute_error(node: onnx.NodeProto) -> float:
    """The absolute error that a runtime may make in a function that it approximates.

    Small values of a sigmoid are off by more than rounding, those inside a subgraph too.
    """
    bounds = [ABSOLUTE[name] for name in _operators_in(node) if name in ABSOLUTE]
    return max((_rules()["approximation"][one] for one in bounds), default=0.0) * EPSILONS[FLOAT32]


def _operators_in(node: onnx.NodeProto) -> Iterator[str]:
    yield node.op_type
    for body in bodies_of(node):
        for inner in body.node:
            yield from _operators_in(inner)


def _noise(narrow: Evaluator, place: int, plain: dict[str, Any], at: int, exact: Array) -> float:
    """The evaluator's own error at this node in the file's own precision."""
    try:
        result = _computed(narrow, place, plain)[at]
        with np.errstate(all="ignore"):
            return float(np.nanmax(np.abs(np.asarray(result, np.float64) - exact), initial=0.0))
    except Exception:  # noqa: BLE001 - then nothing is known of its rounding
        return 0.0


def _difference(truth: Array, found: Any, least: float) -> str | None:
    """The first thing that rounding cannot explain; None if there is none.

    Args:
        least: an absolute error that is allowed whatever the size of the result.
    """
    if not isinstance(found, np.ndarray) or found.shape != truth.shape:
        return f"shape {np.shape(found)}, and ONNX Runtime's {truth.shape}"
    if truth.dtype.kind != "f":
        same = truth.dtype == found.dtype and bool((truth == found).all())
        return None if same else f"other {truth.dtype} values than ONNX Runtime's"
    if found.dtype != np.float64:
        return f"computed in {found.dtype}"
    rule = _rules()["oracle"]
    kind = np.finfo(truth.dtype)
    beyond = (
        np.isinf(truth) & (np.abs(found) > float(kind.max)) & (np.sign(truth) == np.sign(found))
    )
    with np.errstate(all="ignore"):
        error = np.where(beyond, 0.0, np.abs(found - truth))
    error[(found == truth) | (np.isnan(found) & np.isnan(truth))] = 0.0
    if not error.size:
        return None
    finite = np.abs(found)[np.isfinite(found) & ~beyond]
    size = float(finite.max(initial=0.0))
    allowed = rule["rounding_ulp"] * float(kind.eps) * size + float(kind.tiny)
    allowed = max(allowed, least)
    worst = float(error.max()) if not np.isnan(error).any() else float("nan")
    if worst <= allowed:
        return None
    return f"differs from ONNX Runtime by {worst:.3g} of {size:.3g}; rounding allows {allowed:.3g}"
