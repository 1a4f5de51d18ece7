"""What a file gives for no samples by ONNX's own definition, where ONNX Runtime refuses them.

Some of its kernels lose an axis of what they reduce among no elements, and a later node then
refuses: the file is right, and the runtime says so aloud instead of answering wrongly.
"""

from __future__ import annotations

import re

from onnx.reference import ReferenceEvaluator

from onnx_conformance.core.comparison import Outputs
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.spec import ExternalCase
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.runtime import pair_names
from onnx_conformance.session.subject import Subject

# ONNX Runtime's words for a node that failed while it ran; a set of inputs is refused in others.
IN_A_NODE = re.compile(r"while running (?P<operator>\w+) node\. Name:'(?P<name>[^']*)'")


def by_definition(subject: Subject, inputs: Inputs, error: str) -> tuple[str, Outputs] | None:
    """The node at which ONNX Runtime stopped, and what ``onnx.reference`` gives in its place.

    None where the runtime stopped at no node of the file, where the definition fails too, and
    for given files, which are computed in no process without limits.
    """
    told = IN_A_NODE.search(error)
    if told is None or isinstance(subject.case, ExternalCase):
        return None
    model = load_model(subject.artifact.path)
    if told["name"] not in {node.name for node in model.graph.node}:
        return None
    facts = subject.artifact.facts
    theirs = [tensor["name"] for tensor in facts["inputs"]]
    names = pair_names([spec.name for spec in subject.model.inputs], theirs)
    given = {names.get(name, name): array for name, array in inputs.items()}
    try:
        arrays = ReferenceEvaluator(model).run(None, given)
    except Exception:  # noqa: BLE001 - whatever its operators raise: the definition refuses too
        return None
    back = pair_names(
        [t["name"] for t in facts["outputs"]], [s.name for s in subject.model.outputs]
    )
    outputs = [tensor["name"] for tensor in facts["outputs"]]
    found = {back.get(name, name): array for name, array in zip(outputs, arrays, strict=True)}
    return f"{told['operator']} '{told['name']}'", found
