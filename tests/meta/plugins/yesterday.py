"""A route that leaves the file of another day's weights."""

from onnx_conformance.catalog.exporters import EXPORTERS, Exporter
from onnx_conformance.workers.torch.export import torchscript


def yesterday(module, example, spec, opset, options, path):
    """Exports a model of the same architecture with weights of its own."""
    import torch

    for part in module.modules():
        if isinstance(part, torch.nn.Linear):
            part.reset_parameters()
    torchscript(module, example, spec, opset, options, path)


EXPORTERS.register(
    "yesterday",
    Exporter(
        name="yesterday",
        framework="torch",
        function=f"{__name__}:yesterday",
        opsets=range(14, 15),
        conservative=14,
        newest=14,
        packages=("torch",),
    ),
)
