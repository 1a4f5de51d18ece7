"""Sizes that follow from others: ``"past+1"``, ``"2*height"``, ``"height//8"``.

An expression is made of axis names, whole numbers, ``+``, ``-``, ``*``, ``//`` and parentheses.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache

from onnx_conformance.core.errors import UsageError

OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def is_expression(dim: object) -> bool:
    """Whether a dimension is an expression, not a plain axis name."""
    return isinstance(dim, str) and any(sign in dim for sign in "+-*/()")


def names_in(dim: str) -> tuple[str, ...]:
    """The axes that a dimension follows from, in the order of their first appearance.

    Raises:
        UsageError: the expression is of another form.
    """
    if not is_expression(dim):
        return (dim,)
    found = [node.id for node in ast.walk(_tree(dim)) if isinstance(node, ast.Name)]
    return tuple(dict.fromkeys(sorted(found, key=dim.index)))


def evaluate(dim: str, sizes: Mapping[str, int]) -> int | None:
    """The size of a symbolic dimension; None where it names an axis of unknown size.

    Raises:
        UsageError: the expression is of another form, or divides by zero.
    """
    if not is_expression(dim):
        return sizes.get(dim)
    if any(name not in sizes for name in names_in(dim)):
        return None
    try:
        return _value(_tree(dim), sizes)
    except ZeroDivisionError as error:
        raise UsageError(f"the size '{dim}' divides by zero") from error


@lru_cache(maxsize=256)
def _tree(dim: str) -> ast.expr:
    try:
        tree = ast.parse(dim.strip(), mode="eval").body
    except SyntaxError as error:
        raise UsageError(_unreadable(dim)) from error
    for node in ast.walk(tree):
        binary = isinstance(node, ast.BinOp) and type(node.op) in OPERATORS
        number = isinstance(node, ast.Constant) and type(node.value) is int
        plain = isinstance(node, (ast.Name, ast.Load, ast.operator))
        if not (binary or number or plain):
            raise UsageError(_unreadable(dim))
    return tree


def _unreadable(dim: str) -> str:
    return (
        f"the size '{dim}' is not a sum, difference, product or floor division of axes and whole "
        'numbers; write it like "past+1", "past+sequence", "2*height" or "height//8"'
    )


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](_value(node.left, sizes), _value(node.right, sizes))
    if isinstance(node, ast.Name):
        return sizes[node.id]
    assert isinstance(node, ast.Constant)
    return int(node.value)  # type: ignore[arg-type] # _tree admits whole numbers alone
