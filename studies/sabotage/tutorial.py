"""The mistakes that tutorials make, and that plain allclose lets pass or cannot tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from onnx_conformance.checks.controls import CONTROLS, AlteredSubject, changed
from onnx_conformance.checks.registry import CHECKS, PLAIN_CASE
from onnx_conformance.core.arrays import Array
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Answer, Subject
from studies.sabotage import RightOf, answer


def _as(inputs: Inputs, dtype: type) -> Inputs:
    return Inputs((name, array.astype(dtype)) for name, array in inputs.items())


@answer("Unexpected input data type. Actual: (tensor(double))")
def float64_preprocessing(right_of: RightOf, folder: Path) -> Subject:
    """NumPy's preprocessing makes float64, and the file takes float32."""
    right = right_of(PLAIN_CASE)
    return AlteredSubject(
        right, run=lambda inputs, repeat: right.run(_as(inputs, np.float64), repeat)
    )


@answer("float64 instead of float32: the session answered with numbers")
def a_wrapper_that_casts_in_silence(right_of: RightOf, folder: Path) -> Subject:
    """A wrapper casts all inputs to float32, so nobody learns that callers send float64."""
    right = right_of(PLAIN_CASE)
    return AlteredSubject(
        right, run=lambda inputs, repeat: right.run(_as(inputs, np.float32), repeat)
    )


class Squashing(AlteredSubject):
    """Native's preprocessing squashes a photograph to a square."""

    def preprocess(self, photograph: Path) -> Array:
        how = self.model.preprocessing
        assert how is not None
        with Image.open(photograph) as image:
            small = image.convert("RGB").resize((how.crop, how.crop), Image.Resampling.BILINEAR)
        pixels = np.asarray(small, np.float32) / 255.0
        normalised = (pixels - np.float32(how.mean)) / np.float32(how.std)
        return normalised.transpose(2, 0, 1).astype(np.float32)


@answer("8-bit levels", check="photographs")
def a_squashed_resize(right_of: RightOf, folder: Path) -> Subject:
    """`resize((224, 224))` loses the aspect; native and runtime are fed alike and agree."""
    return Squashing(right_of(CHECKS["photographs"].case))


@answer("the batch axis of 'input' is 1, not symbolic")
def a_batch_axis_exported_static(right_of: RightOf, folder: Path) -> Subject:
    """`dynamic_axes` was forgotten: the file takes the example's batch alone."""
    return CONTROLS["batch_axis_frozen"](right_of(PLAIN_CASE), folder)


@answer("is in training mode")
def a_model_left_in_training_mode(right_of: RightOf, folder: Path) -> Subject:
    """`eval()` was forgotten: a Dropout still drops."""
    return CONTROLS["training_mode"](right_of(PLAIN_CASE), folder)


@answer("has shape (1, 5), expected (4, 5)")
def a_comparison_that_broadcasts(right_of: RightOf, folder: Path) -> Subject:
    """`ort_outs[0][0]` compares one row with all of them."""
    return changed(
        right_of(PLAIN_CASE),
        lambda outputs, inputs, repeat: {name: array[:1] for name, array in outputs.items()},
    )


@answer("has shape (), expected (4, 5)")
def nothing_but_a_sum(right_of: RightOf, folder: Path) -> Subject:
    """Outputs are summed up before they are compared."""
    right = right_of(PLAIN_CASE)

    def total(inputs: Inputs, repeat: int) -> Answer:
        outputs = right.run(inputs, repeat).outputs or {}
        return Answer({name: np.asarray(array.sum()) for name, array in outputs.items()})

    return AlteredSubject(right, run=total)
