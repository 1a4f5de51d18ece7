"""Keras models of every kind: how they are given their inputs, their oracle, their replicas."""

import contextlib
import importlib
import tempfile

import numpy as np
import pytest

from onnx_conformance.run.worker_client import ProcessWorkerClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def keras():
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")  # aborts the process if it comes after TensorFlow

    return pytest.importorskip("keras")


LEFT, RIGHT = np.full((2, 4), 1.0, np.float32), np.full((2, 4), 3.0, np.float32)


def functional(keras, structure):
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    return keras.Model(structure(left, right), left - 2 * right)


def subclassed(keras, call):
    return type("Written", (keras.Model,), {"call": call})()


def in_list(self, inputs):
    left, right = inputs
    return left - 2 * right


def in_dict(self, inputs):
    return inputs["left"] - 2 * inputs["right"]


def own_arguments(self, left, right, training=False, mask=None):
    return left - 2 * right


MODELS = {
    "functional, a list": lambda keras: functional(keras, lambda a, b: [a, b]),
    "functional, a dict": lambda keras: functional(keras, lambda a, b: {"left": a, "right": b}),
    "subclassed, a list": lambda keras: subclassed(keras, in_list),
    "subclassed, a dict": lambda keras: subclassed(keras, in_dict),
    "subclassed, arguments": lambda keras: subclassed(keras, own_arguments),
}


@pytest.mark.parametrize("kind", MODELS)
def test_inputs_reach_the_model_by_name_in_any_order(keras, kind):
    from onnx_conformance.workers.keras.calling_convention import KerasCall

    model = MODELS[kind](keras)
    assert (np.asarray(KerasCall(model, ["left", "right"])([LEFT, RIGHT])) == -5).all()
    if kind != "subclassed, a list":  # which has no names
        assert (np.asarray(KerasCall(model, ["right", "left"])([RIGHT, LEFT])) == -5).all()


def test_what_no_way_fits_is_told_in_the_models_own_words(keras):
    from onnx_conformance.workers.keras.calling_convention import KerasCall

    def broken(self, inputs):
        return inputs["up"]

    with pytest.raises(TypeError, match="list indices"):
        KerasCall(subclassed(keras, broken), ["left", "right"])([LEFT, RIGHT])


ROWS = np.linspace(-2, 2, 60, dtype=np.float32).reshape(2, 5, 6)


def recurrent(keras):
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((5, 6)), layers.LSTM(4, return_sequences=True), layers.GRU(3)]
    )


def branching(keras):
    dense, ops = keras.layers.Dense(3), keras.ops
    dense.build((None, 5, 6))

    def call(self, x):
        return ops.cond(
            ops.sum(x) > -1.0,
            lambda: ops.cast(dense(x), "float32") * 0.1,
            lambda: ops.cast(x[..., :3], "float32"),
        )

    return subclassed(keras, call)


def traced(model):
    import tensorflow as tf

    signature = [tf.TensorSpec((None, 5, 6), "float32")]
    model(ROWS)
    return tf.function(lambda x: [model(x, training=False)], input_signature=signature)


@pytest.mark.parametrize("make", [recurrent, branching])
def test_a_float32_graph_is_rebuilt_in_float64_also_inside_loops_and_branches(keras, make):
    import tensorflow as tf

    from onnx_conformance.workers.keras.float64 import widened

    forward = traced(make(keras))
    [found] = widened(forward)(tf.constant(ROWS, tf.float64))
    assert found.dtype == tf.float64
    gap = np.abs(found.numpy() - forward(tf.constant(ROWS))[0].numpy()).max()
    assert 0 < gap < 1e-6
    narrow = found.numpy().astype(np.float32).astype(np.float64)
    assert (narrow != found.numpy()).any()


def test_gates_inside_the_loop_of_a_recurrent_layer_are_approximated_by_replicas(keras):
    import tensorflow as tf

    from onnx_conformance.workers.keras.replicas import as_replica

    forward, rows = traced(recurrent(keras)), tf.constant(ROWS)
    replica = as_replica(forward, {"sigmoid": 1.5, "tanh": 2.75}, "replica-1")
    gap = np.abs(replica(rows)[0].numpy() - forward(rows)[0].numpy()).max()
    assert 1e-9 < gap < 1e-5


def test_layers_that_name_a_dtype_compute_in_float64_in_the_twin_alone(keras):
    from onnx_conformance.workers.keras.private import every_policy_in_float64

    dense = keras.layers.Dense
    with every_policy_in_float64():
        kinds = [dense(1, dtype=name).compute_dtype for name in ("float32", "mixed_float16", None)]
        assert keras.layers.Rescaling(1, dtype="int32").compute_dtype == "int32"
    assert kinds == ["float64"] * 3
    assert dense(1, dtype="mixed_float16").compute_dtype == "float16"


def test_a_model_that_itself_computes_in_half_precision_is_not_rounded_further(keras):
    from onnx_conformance.workers.keras.precision import rounded

    for dtype in ("mixed_float16", "float32"):
        layers = [keras.layers.Flatten(), keras.layers.Dense(3, dtype=dtype)]
        forward = traced(keras.Sequential([keras.Input((5, 6)), *layers]))
        assert (rounded(forward, "float16") is forward) == (dtype == "mixed_float16")


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(13, 5), (18, 21), (1, 5)])
@pytest.mark.parametrize("corners", [(False, True), (True, False), (False, False)])
def test_images_are_resized_in_float64(keras, method, size, corners):
    import tensorflow as tf

    from onnx_conformance.workers.keras.float64 import narrow_in, widened

    resize = getattr(tf.raw_ops, f"Resize{method.title()}")
    aligned, centred = corners
    image = np.random.default_rng(0).standard_normal((2, 9, 7, 3)).astype(np.float32)

    def body(x):
        return [resize(images=x, size=size, align_corners=aligned, half_pixel_centers=centred)]

    forward = tf.function(
        body, input_signature=[tf.TensorSpec((None, 9, 7, 3), tf.float32)], autograph=False
    )
    wide = widened(forward)
    [expected], [exact] = forward(tf.constant(image)), wide(tf.constant(image.astype(np.float64)))
    assert narrow_in(forward)
    assert not narrow_in(wide)
    np.testing.assert_allclose(exact, expected, atol=1e-5)
    assert (np.asarray(exact) != np.asarray(exact).astype(np.float32)).any()


def test_images_with_their_channels_first_are_convolved_in_float64(keras):
    import tensorflow as tf

    from onnx_conformance.workers.keras.float64 import with_kernels

    draw = np.random.default_rng(0).standard_normal
    image, kernel = draw((2, 3, 9, 7)), draw((3, 2, 3, 4))
    pads = [[0, 0], [0, 0], [2, 1], [0, 1]]

    def body(x, first):
        order, steps = ("NCHW", [1, 1, 2, 1]) if first else ("NHWC", [1, 2, 1, 1])
        padding = pads if first else [pads[0], *pads[2:], pads[1]]
        y = tf.nn.conv2d(x, kernel, steps, padding, order)
        y = tf.nn.conv2d_transpose(
            y, kernel, [2, 3, 10, 7] if first else [2, 10, 7, 3], steps, "SAME", order
        )
        y = tf.nn.depthwise_conv2d(y, kernel, [1, 1, 1, 1], "VALID", order)
        return [tf.nn.max_pool2d(y, 2, 2, "VALID", order)]

    signature = [tf.TensorSpec((None, 3, 9, 7), tf.float64)]
    forward = tf.function(lambda x: body(x, True), input_signature=signature, autograph=False)
    [found] = with_kernels(forward)(tf.constant(image))
    [expected] = body(tf.constant(image.transpose(0, 2, 3, 1)), False)
    np.testing.assert_allclose(found, np.asarray(expected).transpose(0, 3, 1, 2), rtol=1e-12)


def test_an_operator_that_knows_no_float64_is_fed_float32_in_a_rebuilt_graph(keras):
    import tensorflow as tf

    from onnx_conformance.workers.keras.float64 import widened

    boxes = np.array([[0, 0, 1, 1], [0, 0.01, 1, 1], [0, 0, 0.4, 0.4]], np.float32)

    def body(x):
        chosen = tf.image.non_max_suppression(x * 2.0, tf.reduce_sum(x, axis=-1), 3, 0.5)
        return [tf.gather(x, chosen)]

    forward = tf.function(
        body, input_signature=[tf.TensorSpec((None, 4), tf.float32)], autograph=False
    )
    [found] = widened(forward)(tf.constant(boxes, tf.float64))
    assert found.dtype == tf.float64
    np.testing.assert_array_equal(found, boxes[[1, 2]])


def test_a_subclassed_model_is_built_on_inputs_of_its_domain(keras, monkeypatch):
    from onnx_conformance.core.domains import Mask
    from onnx_conformance.core.native_request import NativeRequest
    from onnx_conformance.core.spec import ModelSpec, TensorSpec
    from onnx_conformance.workers.keras import introspect

    seen = []

    def call(self, mask):
        seen.append(np.asarray(mask))
        return keras.ops.take(mask, keras.ops.sum(mask, axis=1) - 1, axis=1)

    spec = TensorSpec("mask", ("batch", 5), "int32", domain=Mask())
    outputs = (TensorSpec("output", ("batch", 5), "int32"),)
    model = ModelSpec(name="m", framework="keras", builder="m:f", inputs=(spec,), outputs=outputs)
    monkeypatch.setattr(introspect, "build", lambda request: subclassed(keras, call))
    introspect.build_float32(NativeRequest(model, ""))
    assert (seen[0][:, 0] == 1).all()


def test_a_dict_that_holds_lists_is_as_many_outputs_as_it_has_tensors(keras):
    from onnx_conformance.workers.keras.calling_convention import KerasCall
    from onnx_conformance.workers.keras.introspect import call_model
    from onnx_conformance.workers.user_model.build import built_model

    def nested(self, inputs):
        return {"b": inputs, "a": [inputs * 2, inputs * 3]}

    model = subclassed(keras, nested)
    found = built_model("nested", model, None).run({"left": LEFT})
    assert [array[0, 0] for array in found.values()] == [2, 3, 1]
    again = call_model(KerasCall(model, ["left"]), [LEFT], list(found))
    assert [float(np.asarray(array)[0, 0]) for array in again] == [2, 3, 1]


def test_outputs_that_nothing_in_half_precision_reaches_are_known(keras):
    from onnx_conformance.catalog.models import Declaration
    from onnx_conformance.core.spec import TensorSpec
    from onnx_conformance.workers.user_model.describe import specify

    def mixed():
        layers, x = keras.layers, keras.Input((4, 6), name="x")
        half = layers.LSTM(3, dtype="mixed_float16")(x)
        outputs = {
            "a_half": layers.Dense(2, dtype="float32")(half),
            "b_single": layers.Dense(2, dtype="float32")(x),
            "c_both": layers.Concatenate(dtype="float32")([half, x[:, 0]]),
        }
        return keras.Model(x, outputs)

    declared = Declaration("mixed", mixed, inputs=(TensorSpec("x", ("batch", 4, 6)),))
    found = specify(declared, "m:f", (), "calibrated", 0, threads=None)
    assert (found.computes, found.exact) == ("float16", ("b_single",))


def test_code_that_autograph_generates_is_removed_with_the_worker(keras, tmp_path, monkeypatch):
    import tensorflow as tf

    from onnx_conformance.workers.keras.private import keep_generated_code_together

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("CONFORMANCE_SCRATCH", str(tmp_path))
    keep_generated_code_together()
    tf.function(lambda x: x + 1 if x > 0 else x)(tf.constant(1.0))
    assert list(tmp_path.glob("__autograph_generated_file*.py"))
    worker = ProcessWorkerClient("keras")
    folder = worker._log.parent
    assert folder.is_dir()
    worker.close()
    assert not folder.exists()


def test_tensorflows_message_says_what_is_wrong_without_lines_of_code(keras):
    from onnx_conformance.workers.keras.backend import without_frames

    said = """Graph execution error:

Detected at node net/StridedSlice defined at (most recent call last):
  File "model.py", line 1, in <module>

  File "model.py", line 26, in call

slice index 3 of dimension 0 out of bounds.
\t [[{{node net/StridedSlice}}]]"""
    left = without_frames(said).splitlines()
    assert left[:2] == ["Graph execution error:", "slice index 3 of dimension 0 out of bounds."]
    assert len(left) == 3
