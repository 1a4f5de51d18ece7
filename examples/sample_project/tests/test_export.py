"""Is the file that is served still the same function as the model?"""

from pathlib import Path

from digits_net.model import load_model

from onnx_conformance import Bounded, TensorSpec

PIXELS = TensorSpec("pixels", ("batch", 64), domain=Bounded(0, 1))
SERVED = Path(__file__).parents[1] / "digits.onnx"  # python -m digits_net.export digits.onnx


def test_the_model_exports(certify):
    certify(load_model(), PIXELS, exporters="torch_torchscript", opsets=17).require()


def test_the_served_file(certify):
    certify(load_model(), PIXELS, artifacts=SERVED).require()
