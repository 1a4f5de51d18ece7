"""What a file gives for no samples by ONNX's own definition, where ONNX Runtime refuses them.

Some of its kernels lose an axis when they reduce no elements, and a later node then refuses. The
file is right, and the runtime raises an error instead of answering wrongly.
"""

from __future__ import annotations

import re
from typing import Any

from onnx.reference import ReferenceEvaluator

from onnx_conformance.core.comparison import Outputs
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.spec import ExternalCase
from onnx_conformance.inputs.file_names import Names
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.subject import Subject

# ONNX Runtime's words for a node that failed while it ran; a set of inputs is refused in others.
IN_A_NODE = re.compile(r"while running (?P<operator>\w+) node\. Name:'(?P<name>[^']*)'")


def by_definition(subject: Subject, inputs: Inputs, error: str) -> tuple[str, Outputs] | None:
    """The node at which ONNX Runtime stopped, and what ``onnx.reference`` gives in its place.

    None where the runtime stopped at no node of the file, where the definition fails too, and
    for given files, which are computed in no process without limits.
    """
    named = IN_A_NODE.search(error)
    if named is None or isinstance(subject.case, ExternalCase):
        return None
    model = load_model(subject.artifact.path)
    if named["name"] not in {node.name for node in model.graph.node}:
        return None
    names = Names.of(subject.model, subject.artifact.facts)
    file_inputs = dict(names.to_file(inputs))
    try:
        arrays: Any = ReferenceEvaluator(model).run(None, file_inputs)
    except Exception:  # noqa: BLE001 - whatever its operators raise: the definition refuses too
        return None
    outputs = [output.name for output in model.graph.output]
    found = names.to_model(dict(zip(outputs, arrays, strict=True)))
    return f"{named['operator']} '{named['name']}'", found
