"""Unregistered models of approximated functions and long means, and routes that get them wrong."""

from functools import partial
from typing import Any

from onnx_conformance.catalog.exporters import EXPORTERS, Exporter
from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.workers.keras.export import tf2onnx_function
from onnx_conformance.workers.torch.export import torchscript


def image(*sizes: int) -> tuple[TensorSpec, ...]:
    return (TensorSpec("input", ("batch_size", *sizes)),)


LOGITS = (TensorSpec("output", ("batch_size", 7)),)


@register_model("gated_torch", framework="torch", inputs=image(3, 56, 56), outputs=LOGITS)
def gated_torch(*, pretrained: bool) -> Any:
    """A gate drawn from the mean of 3,136 positions, and every approximated function once."""
    import torch
    from torch import nn

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.SiLU(inplace=True)
            )
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Sigmoid())
            kinds = (nn.Tanh, nn.ELU, nn.SELU, nn.Mish, nn.Softplus, nn.GELU)
            steps = [part for kind in kinds for part in (nn.Conv2d(16, 16, 1), kind())]
            self.body = nn.Sequential(*steps, nn.BatchNorm2d(16), nn.SiLU())
            self.head = nn.Linear(16, 7)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            x = self.body(x * self.gate(x))
            return self.head(x.mean((2, 3)))

    return Gated()


@register_model("gated_keras", framework="keras", inputs=image(56, 56, 3), outputs=LOGITS)
def gated_keras(*, pretrained: bool) -> Any:
    """The same in Keras."""
    import keras
    from keras import layers

    inputs = keras.Input((56, 56, 3))
    x = layers.Conv2D(16, 3, padding="same")(inputs)
    x = layers.Activation("swish", name="stem")(layers.BatchNormalization()(x))
    mean = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = x * layers.Conv2D(16, 1, activation="sigmoid", name="gate")(mean)
    kinds = ("tanh", "elu", "selu", "softplus", partial(keras.activations.gelu, approximate=True))
    for kind in kinds:
        x = layers.Conv2D(16, 1, activation=kind)(x)
    x = layers.Activation("swish")(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(7)(layers.GlobalAveragePooling2D()(x)))


@register_model("lone_sigmoid", framework="keras", inputs=image(10), outputs=LOGITS)
def lone_sigmoid(*, pretrained: bool) -> Any:
    """A classifier whose outputs are small probabilities, each by a sigmoid of its own."""
    import keras

    hidden = keras.layers.Dense(20, activation="tanh")
    inputs = keras.Input((10,))
    logits = keras.layers.Dense(7)(hidden(inputs))
    return keras.Model(inputs, keras.layers.Activation("sigmoid")(logits - 8.0))


def hard_swish(module, example, spec, opset, options, path):
    from torch import nn

    module.stem[2] = nn.Hardswish()
    torchscript(module, example, spec, opset, options, path)


def other_slope(module, example, spec, opset, options, path):
    from torch import nn

    module.body[3] = nn.ELU(alpha=1.01)
    torchscript(module, example, spec, opset, options, path)


def lost_bias(module, example, spec, opset, options, path):
    import torch

    with torch.no_grad():
        module.gate[1].bias[5] = 0.0
    torchscript(module, example, spec, opset, options, path)


def keras_hard_swish(model, example, spec, opset, options, path):
    import keras

    layer = model.get_layer("stem")
    kept, layer.activation = layer.activation, keras.activations.hard_swish
    tf2onnx_function(model, example, spec, opset, options, path)
    layer.activation = kept


def keras_lost_bias(model, example, spec, opset, options, path):
    bias = model.get_layer("gate").bias
    kept = bias.numpy()
    bias.assign([0.0 if place == 5 else value for place, value in enumerate(kept)])
    tf2onnx_function(model, example, spec, opset, options, path)
    bias.assign(kept)


def _register(route, framework, packages):
    EXPORTERS.register(
        route.__name__,
        Exporter(
            name=route.__name__,
            framework=framework,
            function=f"{__name__}:{route.__name__}",
            opsets=range(14, 15),
            conservative=14,
            newest=14,
            packages=packages,
            sets_batch_axis=framework == "torch",
        ),
    )


for _route in (hard_swish, other_slope, lost_bias):
    _register(_route, "torch", ("torch",))
for _route in (keras_hard_swish, keras_lost_bias):
    _register(_route, "keras", ("tensorflow", "tf2onnx"))
