"""Variants that are wrong, each in its way; loaded with ``-p``."""

import onnx
from onnx import numpy_helper

from fixtures.variants import register_variant


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
