"""A traced TensorFlow graph rebuilt operator by operator, also inside loops and branches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

# From an operator of the old graph and its new inputs to its new outputs.
Change = Callable[[Any, list[Any]], list[Any]]
Touches = Callable[[Any], bool]

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_LOOPS = ("While", "StatelessWhile")
_BRANCHES = ("If", "StatelessIf")


def rebuilt(forward: Any, changes: Callable[[], Change], touches: Touches) -> Any:
    """``forward`` with some operators made otherwise, and all others copied.

    Args:
        forward: a ``tf.function`` with one input signature, whose outputs are a flat list.
        changes: gives what makes these operators in one trace.
        touches: whether an operator is one of them.

    Returns:
        A ``tf.function`` that shares the variables of ``forward``; ``forward`` itself where it has
        no such operator.
    """
    traced = forward.get_concrete_function()
    if not any(map(touches, operations_in(traced.graph))):
        return forward

    def replayed(*inputs: Any) -> list[Any]:
        arguments = [*inputs, *traced.captured_inputs]
        return _Replay(changes(), touches).run(
            traced.graph, traced.inputs, arguments, traced.outputs
        )

    return tf.function(replayed, input_signature=forward.input_signature, autograph=False)


def operations_in(graph: Any) -> Iterator[Any]:
    """Every operator of a graph, and of the functions that it calls."""
    for operation in graph.get_operations():
        yield operation
        for inner in functions_of(operation):
            yield from operations_in(inner)


def copied(operation: Any, inputs: list[Any]) -> list[Any]:
    """The operator's outputs in the graph that is being traced, unchanged."""
    attributes = operation.node_def.attr.items()
    return created(operation, inputs, {k: v for k, v in attributes if not k.startswith("_")})


def created(operation: Any, inputs: list[Any], attributes: dict[str, Any]) -> list[Any]:
    """As :func:`copied`, with other attributes."""
    copy = tf.compat.v1.get_default_graph().create_op(
        operation.type,
        inputs,
        [tensor.dtype for tensor in operation.outputs],
        attrs=attributes,
        name=operation.name,
    )
    return list(copy.outputs)


def functions_of(operation: Any) -> list[Any]:
    """The graphs that a call, a loop or a branch runs: of a loop its condition and its body."""
    keys: tuple[str, ...] = ()
    if operation.type in _CALLS:
        keys = ("f",)
    elif operation.type in _LOOPS:
        keys = ("cond", "body")
    elif operation.type in _BRANCHES:
        keys = ("then_branch", "else_branch")
    return [operation.graph._get_function(operation.get_attr(key).name).graph for key in keys]


class _Replay:
    """Builds the operators of traced graphs anew in the graph that is being traced."""

    def __init__(self, change: Change, touches: Touches) -> None:
        self._change, self._touches = change, touches

    def run(
        self, graph: Any, names: Sequence[Any], arguments: Sequence[Any], wanted: Sequence[Any]
    ) -> list[Any]:
        """The new tensors of ``wanted``, where ``given`` are those of the tensors ``names``."""
        known = {old.name: new for old, new in zip(names, arguments, strict=True)}
        for operation in graph.get_operations():  # in the order of their creation
            if operation.outputs and all(tensor.name in known for tensor in operation.outputs):
                continue
            made = self._rebuilt(operation, [known[tensor.name] for tensor in operation.inputs])
            known.update((t.name, new) for t, new in zip(operation.outputs, made, strict=True))
        return [known[tensor.name] for tensor in wanted]

    def _rebuilt(self, operation: Any, inputs: list[Any]) -> list[Any]:
        inner = functions_of(operation)
        if not any(self._touches(one) for graph in inner for one in operations_in(graph)):
            change = self._change if self._touches(operation) else copied
            return change(operation, inputs)
        if operation.type in _CALLS:
            return self._inner(inner[0], inputs)
        if operation.type in _BRANCHES:
            condition, *values = inputs
            yes, no = (lambda g=g: self._inner(g, values) for g in inner)
            return _flat(tf.cond(tf.cast(condition, tf.bool), yes, no))
        return self._loop(inner, inputs, operation)

    def _inner(self, graph: Any, arguments: Sequence[Any]) -> list[Any]:
        return self.run(graph, graph.inputs, arguments, graph.outputs)

    def _loop(self, inner: Sequence[Any], inputs: list[Any], operation: Any) -> list[Any]:
        """Variables, which no loop changes, stay outside of it."""
        condition, body = inner
        carried = [place for place, tensor in enumerate(inputs) if tensor.dtype != tf.resource]

        def whole(values: Sequence[Any]) -> list[Any]:
            complete = list(inputs)
            for place, value in zip(carried, values, strict=True):
                complete[place] = value
            return complete

        def step(*values: Any) -> list[Any]:
            results = self._inner(body, whole(values))
            return [results[place] for place in carried]

        found = tf.while_loop(
            lambda *values: self._inner(condition, whole(values))[0],
            step,
            [inputs[place] for place in carried],
            shape_invariants=[operation.outputs[place].shape for place in carried],
            maximum_iterations=None,
        )
        return whole(_flat(found))


def _flat(result: Any) -> list[Any]:
    """A list also of one result."""
    return list(result) if isinstance(result, (list, tuple)) else [result]
