"""Routes that go wrong, each in a way of its own."""

import os
import sys

from onnx_conformance.catalog.exporters import EXPORTERS, Exporter
from onnx_conformance.workers.torch.export import torchscript


def lying(module, example, spec, opset, options, path):
    """Exports a model one of whose weights it has negated."""
    import torch

    weight = module[0].weight.data
    with torch.no_grad():
        weight[3, 4] *= -1
        torchscript(module, example, spec, opset, options, path)
        weight[3, 4] *= -1


def dying(module, example, spec, opset, options, path):
    print("the exporter's last words", file=sys.stderr, flush=True)
    os._exit(11)


def silent(module, example, spec, opset, options, path):
    return None


def mutating(module, example, spec, opset, options, path):
    """Replaces an activation in the model that it was handed, and leaves it so."""
    import torch

    module[1] = torch.nn.LeakyReLU(0.2)
    torchscript(module, example, spec, opset, options, path)


def patching(module, example, spec, opset, options, path):
    """Replaces an activation of the framework, and leaves it so."""
    import torch

    torch.nn.functional.relu = lambda value, inplace=False: torch.where(
        value > 0, value, 0.2 * value
    )
    torchscript(module, example, spec, opset, options, path)


for _route in (lying, dying, silent, mutating, patching):
    EXPORTERS.register(
        _route.__name__,
        Exporter(
            name=_route.__name__,
            framework="torch",
            function=f"{__name__}:{_route.__name__}",
            opsets=range(14, 15),
            conservative=14,
            newest=14,
            packages=("torch",),
        ),
    )
