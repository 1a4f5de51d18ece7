"""What a model's inputs and outputs are called in a file: the map between the two, made once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnx_conformance.core.comparison import Array, Outputs
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.recipes import Inputs


@dataclass(frozen=True)
class Names:
    """The spec's names of inputs and outputs, each with the file's; what is not there is the same.

    Routes that cannot set names choose their own; the check ``interface`` judges those of routes
    that can.
    """

    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(model: ModelSpec, facts: Mapping[str, Any]) -> Names:
        """Those of a file.

        Args:
            facts: what :func:`onnx_conformance.core.onnx_file.inspect` found in the file.
        """
        sides = ((model.inputs, facts["inputs"]), (model.outputs, facts["outputs"]))
        return Names(*({spec.name: one["name"] for spec, one in pairs(*side)} for side in sides))

    def to_file(self, inputs: Inputs) -> Inputs:
        """Inputs under the file's names; raw ones stay raw, and the very ones if names agree."""
        if all(self.inputs.get(name, name) == name for name in inputs):
            return inputs
        kind = type(inputs)
        return kind((self.inputs.get(name, name), array) for name, array in inputs.items())

    def carried(self, carries: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Outputs and the inputs that get them, under the file's names."""
        return [(self.outputs.get(new, new), self.inputs.get(old, old)) for new, old in carries]

    def to_model(self, outputs: Outputs) -> dict[str, Array]:
        """Outputs under the spec's names."""
        ours = {theirs: name for name, theirs in self.outputs.items()}
        return {ours.get(name, name): array for name, array in outputs.items()}


def pairs(
    specs: Sequence[TensorSpec], tensors: Sequence[Mapping[str, Any]]
) -> list[tuple[TensorSpec, Mapping[str, Any]]]:
    """Specs and a file's tensors: by name if they are the same set, else in order.

    Where they are not as many, only those of the same name.
    """
    found = {tensor["name"]: tensor for tensor in tensors}
    if len(specs) == len(tensors) and {spec.name for spec in specs} != found.keys():
        return list(zip(specs, tensors, strict=True))
    return [(spec, found[spec.name]) for spec in specs if spec.name in found]
