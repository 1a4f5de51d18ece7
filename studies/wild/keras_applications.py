"""Models of keras.applications for small images: each family's blocks in a fraction of the time."""

from collections.abc import Callable

import keras
from keras import applications

from onnx_conformance import TensorSpec, register_model

SIDES = {
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "Xception": 71,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "VGG16": 32,
}


def small(family: str, side: int) -> Callable[[], keras.Model]:
    """Builds the model for images of ``side`` pixels and ten classes."""

    def build() -> keras.Model:
        make = getattr(applications, family)
        return make(weights=None, input_shape=(side, side, 3), classes=10)

    return build


for family, side in SIDES.items():
    spec = TensorSpec("image", ("batch", side, side, 3))
    register_model(f"small_{family}", inputs=[spec], calibrate=True)(small(family, side))
