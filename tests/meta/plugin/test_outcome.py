"""The outcome of a conformance test."""

import ast

import pytest

from onnx_conformance.plugin.outcome import plain_failures, xfail


def described(item):
    """How the item describes an error of this file, as Hypothesis asks for it."""
    with pytest.raises(ValueError, match="the text") as caught:
        raise ValueError("the text")
    return item.repr_failure(caught)


def test_a_failing_example_is_described_without_parsing_source(request, monkeypatch):
    def broken(*arguments, **options):
        raise SystemError("AST constructor recursion depth mismatch")

    monkeypatch.setattr(ast, "parse", broken)
    with plain_failures(request.node):
        assert described(request.node) == "the text"
    with pytest.raises(SystemError):
        described(request.node)


def test_an_edge_finding_is_described_without_parsing_source(request, monkeypatch):
    with pytest.raises(pytest.xfail.Exception) as caught:
        xfail("the text")
    monkeypatch.setattr(ast, "parse", None)
    assert str(request.node.repr_failure(caught)) == "the text"
