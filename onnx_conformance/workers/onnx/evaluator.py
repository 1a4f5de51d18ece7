"""``onnx.reference`` with the operators of :mod:`onnx_conformance.workers.onnx.older_operators`.

A kernel of ONNX Runtime's may stand in for an operator, in the dtype of its inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun, RuntimeContextError

from onnx_conformance.core.arrays import Outputs
from onnx_conformance.workers.onnx.older_operators import definition_of

Operator = tuple[str, str]  # domain ("" for ONNX's own) and type
IR_VERSION = 10  # of the models that one node becomes


def domain_of(node: onnx.NodeProto) -> str:
    """The domain; of ONNX's two names for its own, the shorter one."""
    return "" if node.domain == "ai.onnx" else node.domain


class _Defined(OpRun):
    """An operator computed by a function of the history, with the attributes that are set."""

    op_schema = None  # the newest opset's defaults are not its own
    function: Any = None

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        attributes.pop("attributes", None)
        found = type(self).function(*inputs, **attributes)
        outputs = found if isinstance(found, tuple) else (found,)
        return outputs[: len(self.onnx_node.output)]


class _ByRuntime(OpRun):
    """An operator computed by ONNX Runtime's own kernel."""

    op_schema = None

    def __init__(self, node: onnx.NodeProto, params: dict[str, Any], schema: Any = None) -> None:
        super().__init__(node, params, schema)
        self._sessions: dict[tuple[tuple[str, int] | None, ...], ort.InferenceSession] = {}

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        if self.has_subgraph or self.has_linked_attribute:
            raise NotImplementedError(f"{self.op_type} alone in a session")
        key = tuple(None if one is None else (one.dtype.str, one.ndim) for one in inputs)
        if key not in self._sessions:
            self._sessions[key] = self._open(inputs)
        input_set = {f"i{place}": one for place, one in enumerate(inputs) if one is not None}
        return tuple(self._sessions[key].run(None, input_set))

    def _open(self, inputs: tuple[Any, ...]) -> ort.InferenceSession:
        node = onnx.NodeProto()
        node.CopyFrom(self.onnx_node)
        del node.input[:], node.output[:]
        node.input.extend("" if one is None else f"i{p}" for p, one in enumerate(inputs))
        node.output.extend(f"o{p}" if name else "" for p, name in enumerate(self.output))
        values = [
            helper.make_tensor_value_info(
                f"i{place}", helper.np_dtype_to_tensor_dtype(one.dtype), [None] * one.ndim
            )
            for place, one in enumerate(inputs)
            if one is not None
        ]
        made = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", values, made)
        opsets = [helper.make_opsetid(d, v) for d, v in self.run_params["opsets"].items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        return open_session(model.SerializeToString())


def open_session(source: str | bytes, threads: int | None = 1) -> ort.InferenceSession:
    """A session on the processor that runs the graph as it is written, without optimisation."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 1
    options.log_severity_level = 4  # what it refuses, it raises
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def tensors_of(
    model: onnx.ModelProto, names: Sequence[str], inputs: Outputs, threads: int | None = 1
) -> dict[str, Any]:
    """Tensors of the main graph by name, as ONNX Runtime computes it without optimisation.

    They are added to the graph's outputs.
    """
    known = {value.name for value in model.graph.output}
    new = [onnx.ValueInfoProto(name=name) for name in names if name not in known]
    model.graph.output.extend(new)
    session = open_session(model.SerializeToString(), threads)
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


class Evaluator(ReferenceEvaluator):
    """Computes a graph node by node, its subgraphs and functions too.

    Use :func:`evaluator_of`: subgraphs are given the class, so what differs is of the class.
    """

    by_runtime: frozenset[Operator] = frozenset()

    def _load_impl(self, node: onnx.NodeProto, input_types: Any = None) -> Any:
        domain = domain_of(node)
        if (domain, node.op_type) in self.by_runtime:
            return _ByRuntime
        opset = self.opsets.get(node.domain, self.opsets.get(domain, 1))
        defined = (node.domain, node.op_type) in self.functions_
        count = len(node.output)
        function = None if defined else definition_of(domain, node.op_type, opset, count)
        if function is not None:
            return type(node.op_type, (_Defined,), {"function": staticmethod(function)})
        try:
            return super()._load_impl(node, input_types)
        except RuntimeContextError:
            raise  # the base class tries again with the inputs' types
        except (NotImplementedError, RuntimeError, KeyError, AttributeError):
            return _ByRuntime  # no definition at this opset


def evaluator_of(model: onnx.ModelProto, by_runtime: Collection[Operator] = ()) -> Evaluator:
    """An evaluator of ``model``.

    Args:
        by_runtime: operators that ONNX Runtime's kernels compute.

    Raises:
        NotImplementedError: an operator that nobody defines.
    """
    kind: type[Evaluator] = type("Evaluator", (Evaluator,), {"by_runtime": frozenset(by_runtime)})
    return kind(model)


def widened(value: Any) -> Any:
    """A floating array in float64, those of a sequence too; anything else as it is."""
    if isinstance(value, list):
        return [widened(one) for one in value]
    if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
        return value.astype(np.float64)
    return value
