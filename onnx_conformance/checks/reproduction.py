"""What a failing check leaves for its repro bundle: the inputs, what was expected, and the rule.

Each ``judge`` is plain data that :mod:`onnx_conformance.diagnose.reproduce`, which stands alone,
can apply; so the bundle's exit status is the check's own verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import NORMS, Reference, errors, noise_floors
from onnx_conformance.core.documents import AnswerRule, ErrorLimit
from onnx_conformance.core.judgement import Judgement
from onnx_conformance.core.results import Reproduction
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.views import SMALLEST_PROBABILITY, UNMASKED, masked_from


def unanswered(inputs: Outputs) -> Reproduction:
    """The session gave an error where it should have answered."""
    return Reproduction(inputs, {"kind": "answers"})


def misjudged(inputs: Outputs, found: Judgement) -> Reproduction:
    """An answer that is off by too much: allclose, or what each sample may err, spelt out."""
    reference, rule = found.reference, found.limits.rule
    if found.limits.measure == "allclose":
        return not_close(inputs, reference.native, found.outputs, rule)
    with np.errstate(all="ignore"):  # a native answer may hold infinity, which allows anything
        limits = list(_limits(reference, found.specs, rule))
    judge = errors_judge(limits, reference.oracle)
    return Reproduction(inputs, judge, reference.oracle, found.outputs)


def errors_judge(limits: list[ErrorLimit], oracle: Outputs, *, many: bool = False) -> AnswerRule:
    """The rule of errors as plain data: what each sample may err, by output, norm and view.

    Args:
        many: as of :func:`onnx_conformance.core.views.masked_from`.
    """
    for limit in limits:
        if limit["view"] == UNMASKED:
            exact = np.asarray(oracle[limit["output"]], np.float64)
            rows = np.nan_to_num(exact.reshape(len(exact), -1), posinf=0.0, neginf=0.0)
            limit["below"] = masked_from(rows, many=many).tolist()
    return {"kind": "errors", "limits": limits, "smallest_probability": SMALLEST_PROBABILITY}


def _limits(
    reference: Reference, outputs: Sequence[TensorSpec], rule: Rule
) -> Iterator[ErrorLimit]:
    for spec in outputs:
        floors = noise_floors(reference, spec, rule["floor_ulp"])
        kinds = errors(reference.oracle, reference.native, spec)
        for noise_floor, (norm, view, _) in zip(floors, kinds, strict=True):
            allowed = rule["factor"] * noise_floor
            if spec.scale == "unit":  # the bundle divides by the oracle's own size
                rows = np.asarray(reference.oracle[spec.name]).reshape(len(allowed), -1)
                size = np.maximum(NORMS[norm](rows), np.finfo(np.float32).tiny)
                allowed = allowed * np.maximum(size, 1.0) / size
            yield {"output": spec.name, "norm": norm, "view": view, "allowed": allowed.tolist()}


def not_close(
    inputs: Outputs, native: Outputs, got: Outputs, rule: Rule, first_sample: int = 0
) -> Reproduction:
    """Like ``allclose`` against native, from ``first_sample`` on; NaN and infinity in place."""
    judge: AnswerRule = {
        "kind": "close",
        "rtol": rule["rtol"],
        "atol_rms": rule["atol_rms"],
        "first_sample": first_sample,
    }
    return Reproduction(inputs, judge, native, got)


def misshapen(inputs: Outputs, native: Outputs, got: Outputs) -> Reproduction:
    """Names, shapes and dtypes alone."""
    return Reproduction(inputs, {"kind": "structure"}, native, got)


def misranked(
    inputs: Outputs, reference: Reference, got: Outputs, output: str, ties: list[float]
) -> Reproduction:
    """The five leading classes; ``ties`` says for each sample how close counts as tied."""
    judge: AnswerRule = {"kind": "ranks", "output": output, "ties": ties}
    return Reproduction(inputs, judge, reference.oracle, got)


def unsteady(inputs: Outputs, got: Outputs) -> Reproduction:
    """Two runs of the same inputs differ."""
    return Reproduction(inputs, {"kind": "same_bits"}, got=got)


def accepted(inputs: Outputs, got: Outputs | None) -> Reproduction:
    """The session answered to inputs that it must refuse."""
    return Reproduction(inputs, {"kind": "refusal"}, got=got)
