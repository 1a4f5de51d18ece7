"""Names: of values, nodes and initialisers, changed wherever they stand."""

from __future__ import annotations

from collections.abc import Mapping

from studies.corpus.drafts import Mutant


def rename_value(mutant: Mutant, *, old: str, new: str) -> None:
    """Give a value, an input, an output or an initialiser another name."""
    rename_values(mutant, {old: new})


def rename_values(mutant: Mutant, names: Mapping[str, str]) -> None:
    """Give values other names; those that the mapping lacks keep theirs."""
    graph = mutant.graph
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    mutant.arrays = {names.get(name, name): array for name, array in mutant.arrays.items()}
