"""ONNX Runtime that answers a tenth too much from the extended level on."""

from onnx_conformance.workers.onnxruntime.backend import OnnxRuntimeBackend

RIGHT = ("disable_all", "enable_basic")
COLUMNS = 5  # of the model that is judged: the probe's own model stays right


class Backend(OnnxRuntimeBackend):
    def run(self, session, input_sets, *arguments, **named):
        results = super().run(session, input_sets, *arguments, **named)
        if session["graph_level"] in RIGHT:
            return results
        return [_worse(result) for result in results]


def _worse(result):
    if any(array.shape[-1] != COLUMNS for array in result.get("outputs", {}).values()):
        return result
    outputs = result.get("outputs", {})
    worse = {name: array * array.dtype.type(1.1) for name, array in outputs.items()}
    return {**result, "outputs": worse} if outputs else result
