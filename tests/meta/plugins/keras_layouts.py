"""A small channels-last Keras model, and a route that exports it for channels-first inputs."""

from onnx_conformance.catalog.exporters import EXPORTERS, Exporter
from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.spec import TensorSpec


@register_model(
    "tiny_nhwc",
    framework="keras",
    inputs=(TensorSpec("input", ("batch_size", 6, 6, 3)),),
    outputs=(TensorSpec("output", ("batch_size", 5)),),
    trained=True,
)
def tiny_nhwc(*, pretrained):
    """One convolution and one dense layer."""
    import keras

    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )


def as_nchw(model, example, spec, opset, options, path):
    """``tf2onnx.convert.from_function`` with ``inputs_as_nchw``."""
    import tensorflow as tf
    import tf2onnx

    function = tf.function(lambda value: model(value, training=False))
    signature = [tf.TensorSpec((None, 6, 6, 3), tf.float32, name="input")]
    tf2onnx.convert.from_function(
        function,
        signature,
        opset=opset,
        inputs_as_nchw=["input"],
        output_path=str(path),
    )


EXPORTERS.register(
    "as_nchw",
    Exporter(
        name="as_nchw",
        framework="keras",
        function=f"{__name__}:as_nchw",
        opsets=range(14, 15),
        conservative=14,
        newest=14,
        packages=("tensorflow", "tensorflow-cpu", "tf2onnx"),
        sets_output_names=False,
        sets_batch_axis=False,
    ),
)
