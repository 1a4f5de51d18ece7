"""torch's routes with one wrong edit for each worked example of shapes: an axis runs backwards."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_conformance.catalog.exporters import EXPORTERS, Exporter
from onnx_conformance.workers.torch.export import dynamo, torchscript
from tests.meta.spoiled_axes import BACKWARDS


def turn(model, name, axis):
    """Let axis ``axis`` of an input or output run backwards, in place."""
    ends = {"starts": [-1], "ends": [-(2**62)], "axes": [axis], "steps": [-1]}
    stored = [
        numpy_helper.from_array(np.array(value, np.int64), f"turn_{key}")
        for key, value in ends.items()
    ]
    model.graph.initializer.extend(stored)
    constants = [tensor.name for tensor in stored]
    if name in {value.name for value in model.graph.output}:
        for node in model.graph.node:
            node.output[:] = ["unturned" if one == name else one for one in node.output]
            node.input[:] = ["unturned" if one == name else one for one in node.input]
        model.graph.node.append(helper.make_node("Slice", ["unturned", *constants], [name]))
        return
    for node in model.graph.node:
        node.input[:] = ["turned" if one == name else one for one in node.input]
    model.graph.node.insert(0, helper.make_node("Slice", [name, *constants], ["turned"]))


def spoiled(route):
    def export(module, example, spec, opset, options, path):
        route(module, example, spec, opset, options, path)
        model = onnx.load(path)
        turn(model, *BACKWARDS[spec.name])
        onnx.save(model, path)

    return export


spoiled_torchscript, spoiled_dynamo = spoiled(torchscript), spoiled(dynamo)

for _name in ("spoiled_torchscript", "spoiled_dynamo"):
    EXPORTERS.register(
        _name,
        Exporter(
            name=_name,
            framework="torch",
            function=f"{__name__}:{_name}",
            opsets=range(18, 19),
            conservative=18,
            newest=18,
            packages=("torch",),
        ),
    )
