"""The models of this project, for ``onnx-conformance run conformance_models.py``."""

from digits_net.model import DigitsNet, load_model

from onnx_conformance import Bounded, TensorSpec, register_model

PIXELS = TensorSpec("pixels", ("batch", 64), domain=Bounded(0, 1))


@register_model("digits_net", inputs=[PIXELS])
def digits_net() -> DigitsNet:
    return load_model()
