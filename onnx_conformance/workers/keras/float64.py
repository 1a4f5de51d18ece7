"""The float64 oracle of a Keras model: operators without a kernel, code that names float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from onnx_conformance.workers.keras.rebuild import (
    copied,
    created,
    operations_in,
    rebuilt,
)

_NARROW = (tf.float16, tf.bfloat16, tf.float32)
_TYPES = frozenset(kind.as_datatype_enum for kind in _NARROW)
# Operators on images with their channels first or last, and which input is the image.
_IMAGE_FIRST = {
    "AvgPool": 0,
    "Conv2D": 0,
    "Conv2DBackpropInput": 2,
    "Conv3D": 0,
    "Conv3DBackpropInputV2": 2,
    "DepthwiseConv2dNative": 0,
    "MaxPool": 0,
}
_WIDER = dict.fromkeys(_TYPES, tf.float64.as_datatype_enum)


def with_kernels(forward: Any) -> Any:
    """``forward`` with every such operator written as others; see :func:`rebuilt`."""
    return rebuilt(forward, lambda: _written_out, _lacks_kernel)


def _written_out(operation: Any, inputs: list[Any]) -> list[Any]:
    written = _channels_moved if _channels_first(operation) else WRITTEN_OUT[operation.type]
    return [written(operation, inputs)]


def widened(forward: Any) -> Any:
    """``forward``, a float32 one, with every floating tensor in float64.

    Of a model that cannot be built in float64: its code casts to float32, or names it. Weights are
    read as they are, and cast. It shares the variables of ``forward``.
    """
    replayed = rebuilt(forward, lambda: _wide, _is_narrow).python_function
    signature = [
        tf.TensorSpec(spec.shape, _wider(spec.dtype), name=spec.name)
        for spec in forward.input_signature
    ]
    return tf.function(replayed, input_signature=signature, autograph=False)


def narrow_in(forward: Any) -> bool:
    """Whether a float64 graph makes tensors of fewer bits from others: it is no oracle then."""
    operations = operations_in(forward.get_concrete_function().graph)
    return any(
        tensor.dtype in _NARROW
        for operation in operations
        if operation.inputs
        for tensor in operation.outputs
    )


def _wider(kind: Any) -> Any:
    return tf.float64 if kind in _NARROW else kind


def _widened(tensor: Any) -> Any:
    return tf.cast(tensor, tf.float64) if tensor.dtype in _NARROW else tensor


def _is_narrow(operation: Any) -> bool:
    """Whether the operator takes, gives or keeps a narrow floating type."""
    values = operation.node_def.attr.values()
    return any(t.dtype in _NARROW for t in (*operation.inputs, *operation.outputs)) or any(
        a.type in _TYPES or _TYPES.intersection(a.list.type) for a in values
    )


def _wide(operation: Any, inputs: list[Any]) -> list[Any]:
    inputs = [_widened(tensor) for tensor in inputs]  # of tensors that the model keeps
    if operation.type == "Const" and operation.outputs[0].dtype in _NARROW:
        value = tf.make_ndarray(operation.get_attr("value"))
        return [tf.constant(value.astype("float64"))]
    if operation.type in WRITTEN_OUT or _channels_first(operation):
        return _written_out(operation, inputs)
    if operation.type == "ResourceGather":
        handle, indices = inputs
        table = tf.raw_ops.ReadVariableOp(resource=handle, dtype=operation.get_attr("dtype"))
        batch = operation.get_attr("batch_dims")
        return [tf.gather(_widened(table), indices, batch_dims=batch)]
    if operation.type in ("ReadVariableOp", "VarHandleOp"):
        return [_widened(tensor) for tensor in copied(operation, inputs)]
    attributes = {}
    for key, value in operation.node_def.attr.items():
        if key.startswith("_"):
            continue
        attributes[key] = other = type(value)()
        other.CopyFrom(value)
        if value.type in _TYPES:
            other.type = _WIDER[value.type]
        for place, kind in enumerate(value.list.type):
            other.list.type[place] = _WIDER.get(kind, kind)
    try:
        return [_widened(tensor) for tensor in created(operation, inputs, attributes)]
    except (TypeError, ValueError):  # it is not defined in float64, as NonMaxSuppressionV3
        narrow = [
            tf.cast(tensor, old.dtype) for tensor, old in zip(inputs, operation.inputs, strict=True)
        ]
        return [_widened(tensor) for tensor in copied(operation, narrow)]


def _lacks_kernel(operation: Any) -> bool:
    unknown = operation.type in WRITTEN_OUT or _channels_first(operation)
    return unknown and operation.outputs[0].dtype == tf.float64


def _channels_first(operation: Any) -> bool:
    """Whether it is a convolution or a pooling that TensorFlow's CPU has channels last only."""
    order = operation.node_def.attr["data_format"].s if operation.type in _IMAGE_FIRST else b""
    return order.startswith(b"NC")


def _channels_moved(operation: Any, inputs: list[Any]) -> Any:
    """The operator with channels last, between two transpositions.

    Its vectors of a number an axis (strides, dilations, a window's or an image's size) are put in
    that order; explicit paddings have two numbers an axis.
    """
    rank = operation.outputs[0].shape.rank
    last = [0, *range(2, rank), 1]
    place, inputs = _IMAGE_FIRST[operation.type], list(inputs)
    inputs[place] = tf.transpose(inputs[place], last)
    if operation.type.endswith(("BackpropInput", "BackpropInputV2")):
        sizes = inputs[0]
        inputs[0] = tf.gather(sizes, last) if sizes.shape[0] == rank else sizes
    attributes = {k: v for k, v in operation.node_def.attr.items() if not k.startswith("_")}
    for key in ("strides", "dilations", "ksize", "explicit_paddings"):
        values = list(attributes[key].list.i) if key in attributes else []
        if values:
            pairs = np.reshape(values, (rank, -1))[last]
            attributes[key] = type(attributes[key])()
            attributes[key].list.i.extend(int(value) for value in pairs.ravel())
    attributes["data_format"] = type(attributes["data_format"])(
        s=b"NHWC" if rank == 4 else b"NDHWC"
    )
    if "T" in attributes:
        attributes["T"] = type(attributes["T"])(type=inputs[place].dtype.as_datatype_enum)
    [result] = created(operation, inputs, attributes)
    moved = tf.transpose(result, [0, rank - 1, *range(1, rank - 1)])
    moved.set_shape(operation.outputs[0].shape)
    return moved


def _pool3d(operation: Any, inputs: list[Any], pool: Any) -> Any:
    """A pooling over depth, height and width: over the last two, then over the first.

    The mean of a window's means is its mean, also at a border: each of those has as many terms.
    """
    size, steps = list(operation.get_attr("ksize")), list(operation.get_attr("strides"))
    padding = operation.get_attr("padding").decode()
    [x] = inputs
    if operation.get_attr("data_format").decode() != "NDHWC":
        raise ValueError(f"{operation.type} is known with channels last only")
    batch, depth, height, width, channels = tf.unstack(tf.shape(x))
    planes = tf.reshape(x, [batch * depth, height, width, channels])
    planes = pool(planes, size[2:4], steps[2:4], padding)
    _, rows, columns, _ = tf.unstack(tf.shape(planes))
    lines = tf.reshape(planes, [batch, depth, rows * columns, channels])
    lines = pool(lines, [size[1], 1], [steps[1], 1], padding)
    result = tf.reshape(lines, [batch, tf.shape(lines)[1], rows, columns, channels])
    result.set_shape(operation.outputs[0].shape)
    return result


def _resized(operation: Any, inputs: list[Any], taps: Any) -> Any:
    """An image resized along its height, then its width: TensorFlow does it in float32 alone.

    Args:
        taps: from a side's old and new size to the places that are read and their shares.
    """
    image, size = inputs
    centred = operation.get_attr("half_pixel_centers")
    for axis in (1, 2):
        before, after = tf.shape(image)[axis], size[axis - 1]
        step = tf.cast(before, tf.float64) / tf.cast(after, tf.float64)
        if operation.get_attr("align_corners"):
            last = tf.cast(tf.stack([before, after]) - 1, tf.float64)
            step = tf.where(after > 1, last[0] / tf.maximum(last[1], 1.0), step)
        at = tf.range(tf.cast(after, tf.float64), dtype=tf.float64)
        at = (at + 0.5) * step - 0.5 if centred else at * step
        shape = [-1, 1] if axis == 2 else [-1, 1, 1]
        image = sum(
            tf.gather(image, tf.clip_by_value(place, 0, before - 1), axis=axis)
            * tf.reshape(share, shape)
            for place, share in taps(at, before, centred)
        )
    image.set_shape(operation.outputs[0].shape)
    return image


Taps = list[tuple[Any, Any]]


def _two_taps(at: Any, size: Any, centred: bool) -> Taps:
    low = tf.floor(at)
    place, share = tf.cast(low, tf.int32), at - low
    return [(place, 1.0 - share), (place + 1, share)]


def _four_taps(at: Any, size: Any, centred: bool) -> Taps:
    """Keys' cubic, whose places TensorFlow rounds to a 1024th of a pixel."""
    sharpness = -0.5 if centred else -0.75
    low = tf.floor(at)
    place, offset = tf.cast(low, tf.int32), tf.round((at - low) * 1024.0) / 1024.0

    def near(x: Any) -> Any:
        return ((sharpness + 2.0) * x - (sharpness + 3.0)) * x * x + 1.0

    def far(x: Any) -> Any:
        return ((sharpness * x - 5.0 * sharpness) * x + 8.0 * sharpness) * x - 4.0 * sharpness

    shares = [far(offset + 1.0), near(offset), near(1.0 - offset), far(2.0 - offset)]
    places = [place - 1, place, place + 1, place + 2]
    if centred:  # what lies outside has no share
        shares = [
            tf.where((one >= 0) & (one < size), share, 0.0)
            for one, share in zip(places, shares, strict=True)
        ]
        total = tf.add_n(shares)
        shares = [share / total for share in shares]
    return list(zip(places, shares, strict=True))


WRITTEN_OUT = {
    "AvgPool3D": lambda operation, inputs: _pool3d(operation, inputs, tf.nn.avg_pool2d),
    "MaxPool3D": lambda operation, inputs: _pool3d(operation, inputs, tf.nn.max_pool2d),
    "ResizeBicubic": lambda operation, inputs: _resized(operation, inputs, _four_taps),
    "ResizeBilinear": lambda operation, inputs: _resized(operation, inputs, _two_taps),
}
