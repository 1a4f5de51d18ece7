"""Variants that are wrong, each in its way; loaded with ``-p``."""

import onnx
from onnx import numpy_helper

from fixtures.variants import register_variant
from fixtures.variants.half import fp16


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
