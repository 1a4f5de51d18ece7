"""A runtime in whose answers NaN and infinity are ordinary numbers."""

import numpy as np

from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.subject import Answer

_run = LiveSubject.run


def _lose(self, inputs, repeat=0):
    answer = _run(self, inputs, repeat)
    if answer.outputs is None:
        return answer
    return Answer({name: np.nan_to_num(array) for name, array in answer.outputs.items()})


LiveSubject.run = _lose
