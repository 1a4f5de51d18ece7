"""Variants that are wrong, each in its way; loaded with ``-p``."""

import ml_dtypes
import onnx
from onnx import numpy_helper

from onnx_conformance.catalog.variants import register_variant
from onnx_conformance.checks.controls_of_answers import layer_saturated, zero_points_wrong
from onnx_conformance.workers.variants import fp16, int8_static


@register_variant("negated", story="one weight has the wrong sign")
def negated(source, target):
    model = onnx.load(source)
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] *= -1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, target)


@register_variant("silent", story="writes nothing")
def silent(source, target):
    pass


@register_variant("missing", story="needs what nobody has", needs="no_such_module")
def missing(source, target):
    raise AssertionError("never called")


@register_variant("claims_more", story="float16, and judged as if it were float32")
def claims_more(source, target):
    fp16(source, target)


@register_variant("half_off", story="float16, and one bias is a tenth off", precision="float16")
def half_off(source, target):
    fp16(source, target)
    model = onnx.load(target)
    bias = min(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = numpy_helper.to_array(bias)
    bias.CopyFrom(numpy_helper.from_array(array + array.dtype.type(0.1), bias.name))
    onnx.save(model, target)


@register_variant("half_coarse", story="float16, of weights of 4 bits", precision="float16")
def half_coarse(source, target):
    fp16(source, target)
    model = onnx.load(target)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        coarse = array.astype(ml_dtypes.float8_e4m3fn).astype(array.dtype)
        tensor.CopyFrom(numpy_helper.from_array(coarse, tensor.name))
    onnx.save(model, target)


@register_variant(
    "half_channel", story="float16, and a channel is half a percent off", precision="float16"
)
def half_channel(source, target):
    fp16(source, target)
    model = onnx.load(target)
    kernel = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = numpy_helper.to_array(kernel).copy()
    array[0] *= array.dtype.type(1.005)
    kernel.CopyFrom(numpy_helper.from_array(array, kernel.name))
    onnx.save(model, target)


@register_variant("int8_shifted", story="zero points are off", precision="int8", calibrated=True)
def int8_shifted(source, target, calibration):
    _spoilt(source, target, calibration, zero_points_wrong)


@register_variant("int8_saturated", story="a layer saturates", precision="int8", calibrated=True)
def int8_saturated(source, target, calibration):
    _spoilt(source, target, calibration, layer_saturated)


@register_variant("int8_claimed", story="int8, and judged as if it were float32", calibrated=True)
def int8_claimed(source, target, calibration):
    int8_static(source, target, calibration)


def _spoilt(source, target, calibration, edit):
    int8_static(source, target, calibration)
    model = onnx.load(target)
    edit(model)
    onnx.save(model, target)
