"""torch's routes: ``torch.onnx.export`` by tracing (TorchScript) and by torch.export (dynamo).

A route imports torch when it is called: who names one, in pytest's process too, needs none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from onnx_conformance.core.spec import BATCH_NAMES, ModelSpec, Shape
from onnx_conformance.workers.operator_translations import (
    operators_in,
    symbolics,
    translation_errors,
    translation_table,
)

Options = dict[str, bool]  # of :class:`onnx_conformance.core.case.ExportOptions`


def torchscript(
    module: Any, example: Any, model: ModelSpec, opset: int, options: Options, path: Path
) -> None:
    """``torch.onnx.export(dynamo=False)``."""
    import torch

    tensors = (*model.inputs, *model.outputs)
    axes = {spec.name: _symbolic(spec.shape, model.group) for spec in tensors}
    with symbolics(operators_in(model)), translation_errors("torch_torchscript", "torchscript"):
        torch.onnx.export(
            module,
            example,
            path,
            dynamo=False,
            opset_version=opset,
            input_names=[spec.name for spec in model.inputs],
            output_names=[spec.name for spec in model.outputs],
            dynamic_axes=axes if options["dynamic_batch"] else None,
            export_params=options["export_params"],
            do_constant_folding=options["constant_folding"],
        )
    if options["external_data"]:
        _move_weights_out(path)


def dynamo(
    module: Any, example: Any, model: ModelSpec, opset: int, options: Options, path: Path
) -> None:
    """``torch.onnx.export(dynamo=True)``."""
    import torch

    shapes = tuple(_symbolic(spec.shape, model.group) for spec in model.inputs)
    with translation_errors("torch_dynamo", "dynamo"):
        torch.onnx.export(
            module,
            example,
            path,
            dynamo=True,
            opset_version=opset,
            input_names=[spec.name for spec in model.inputs],
            output_names=[spec.name for spec in model.outputs],
            dynamic_shapes=shapes if options["dynamic_batch"] else None,
            export_params=options["export_params"],
            # without it a file without weights has no inputs for them either, and does not load
            keep_initializers_as_inputs=not options["export_params"],
            external_data=options["external_data"],
            optimize=options["constant_folding"],
            custom_translation_table=translation_table(operators_in(model)),
            verbose=False,
        )


def _symbolic(shape: Shape, group: int) -> dict[int, str]:
    """The symbolic axes of a shape, by their place; a batch that the model fixes is none."""
    return {
        axis: _label(dim)
        for axis, dim in enumerate(shape)
        if isinstance(dim, str) and not (group and dim in BATCH_NAMES)
    }


def _label(dim: str) -> str:
    """A dimension as a name: ``past+1`` becomes ``past_plus_1``."""
    spoken = {"+": " plus ", "-": " minus ", "*": " times ", "//": " over ", "(": " ", ")": " "}
    for sign, word in spoken.items():
        dim = dim.replace(sign, word)
    return "_".join(dim.split())


def _move_weights_out(path: Path) -> None:
    """TorchScript writes external data only past 2 GiB; onnx's own writer does it at any size."""
    model = onnx.load(path)
    onnx.save(
        model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0
    )
