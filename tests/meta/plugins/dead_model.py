"""A model that answers nearly the same to every input."""

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.spec import TensorSpec


@register_model(
    "dead_net",
    framework="torch",
    inputs=(TensorSpec("input", ("batch_size", 10)),),
    outputs=(TensorSpec("output", ("batch_size", 5)),),
    trained=True,
)
def dead_net(*, pretrained):
    """simple_net whose last layer is nearly a bias alone, as freshly initialised ones may be."""
    from torch import nn

    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    nn.init.normal_(model[2].weight, std=1e-7)
    return model
