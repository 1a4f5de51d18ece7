"""A NumPy function, judged against an ONNX file that somebody else made.

No weights, no float64 oracle: floating outputs are judged by allclose, and the report says so;
whole numbers and truth values must be equal. ``python examples/models/plain_python.py FILE``
writes such an ONNX file.
"""

import sys

import numpy as np

READINGS = 8


def alarm(readings, limit):
    """Standardise each row of readings; which of them are over the limit, how many, and where."""
    mean = readings.mean(axis=1, keepdims=True)
    scores = (readings - mean) / (readings.std(axis=1, keepdims=True) + np.float32(1e-3))
    over = scores > limit
    return {
        "scores": scores,
        "over": over,
        "count": over.sum(axis=1),
        "highest": readings.argmax(axis=1),
    }


def write(path):
    """The same function as an ONNX graph."""
    import onnx

    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 18]>
        alarm (float[batch, {READINGS}] readings, float[batch, 1] limit)
          => (float[batch, {READINGS}] scores, bool[batch, {READINGS}] over,
              int64[batch] count, int64[batch] highest)
        {{
          axis = Constant <value_ints: ints = [1]> ()
          mean = ReduceMean <keepdims = 1> (readings, axis)
          centred = Sub (readings, mean)
          squares = Mul (centred, centred)
          variance = ReduceMean <keepdims = 1> (squares, axis)
          deviation = Sqrt (variance)
          little = Constant <value_float: float = 0.001> ()
          divisor = Add (deviation, little)
          scores = Div (centred, divisor)
          over = Greater (scores, limit)
          ones = Cast <to = 7> (over)
          count = ReduceSum <keepdims = 0> (ones, axis)
          highest = ArgMax <axis = 1, keepdims = 0> (readings)
        }}""")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


if __name__ == "__main__":
    write(sys.argv[1])
else:
    from onnx_conformance.catalog.models import register_model
    from onnx_conformance.core.domains import Bounded
    from onnx_conformance.core.spec import TensorSpec

    @register_model(
        "alarm",
        inputs=[
            TensorSpec("readings", ("batch", READINGS), domain=Bounded(-50, 50)),
            TensorSpec("limit", ("batch", 1), domain=Bounded(0.5, 2.0)),
        ],
    )
    def plain_alarm():
        return alarm
