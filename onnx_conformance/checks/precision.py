"""Checks of half precision (overflow) and of int8 (sqnr in decibels, composition).

An infinity inside a network may not reach its outputs: a clip or a sigmoid turns it into a number,
though not native's. A provider that computes a float32 file in half precision does not show its
tensors; there the result says what would overflow, and the error budget judges the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from onnx import TensorProto, numpy_helper

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.registry import register_check
from onnx_conformance.checks.verdict import unanswered
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.case import DerivedCase
from onnx_conformance.core.comparison import structure_problem
from onnx_conformance.core.onnx_file import answering_nodes, is_quantised, load_model
from onnx_conformance.core.results import CheckResult, ResultFields, failed, passed
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.statistics import Interval, class_sqnr, sqnr
from onnx_conformance.core.tolerances import FLOAT32, INT8
from onnx_conformance.core.traces import TensorRecord
from onnx_conformance.inputs.families import pinned_inputs
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.samples import typical_inputs
from onnx_conformance.run.subject import Subject

FLOAT16 = "float16"
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
CONSTANT_OPERATORS = {
    "Constant",
    "ConstantOfShape",
}  # operators whose output is written in the file
LARGEST_FLOAT16 = float(np.finfo(np.float16).max)
RECIPES = ("large_normal", "image")  # of the pinned ones, those whose values are largest
SAMPLES = 2
FLOAT16_CASE = DerivedCase(
    "simple_net", "torch_torchscript", 14, "cpu", variant="fp16", precision=FLOAT16
)


@dataclass(frozen=True)
class _ProducedTensor:
    """A tensor with the node that makes it, and whether what goes in is finite."""

    node: str
    record: TensorRecord
    inputs_finite: bool

    @property
    def overflows(self) -> bool:
        return bool(self.record["nonfinite"]) and self.inputs_finite

    @property
    def exceeds_float16(self) -> bool:
        """Whether it would overflow in float16."""
        return self.record["dtype"] == FLOAT32 and self.size > LARGEST_FLOAT16

    @property
    def size(self) -> float:
        return max(abs(self.record["low"]), abs(self.record["high"]))


@register_check(
    control="half_overflows", families=("pinned",), case=FLOAT16_CASE, precisions=(FLOAT16,)
)
def check_overflow(subject: Subject) -> CheckResult:
    """No tensor of the file leaves float16's range on ordinary inputs."""
    made = [
        one
        for inputs in pinned_inputs(RECIPES, subject.model, subject.seed)
        for one in _tensors(subject, subject.ranges(inputs.chosen(slice(SAMPLES))))
    ]
    spoilt = next((one for one in made if one.overflows), None)
    if spoilt is not None:
        lost, dtype = spoilt.record["nonfinite"], spoilt.record["dtype"]
        reason = f"{spoilt.node} overflows {dtype}: {lost} elements of its output are not finite"
        return failed(f"{reason}, though its inputs are")
    half = [one for one in made if one.record["dtype"] == FLOAT16]
    if not half and PROVIDERS[subject.case.provider].precision == FLOAT16:
        return _of_provider(subject, made)
    if not half:
        return failed(
            "no tensor of the file is in float16, so float16's budget would be too wide; judge it "
            "as float32 (without --precision float16)",
        )
    largest = max(half, key=lambda one: one.size)
    share = largest.size / LARGEST_FLOAT16
    reason = f"the largest number is {largest.size:.4g} at {largest.node}, {share:.2%} of float16's"
    statistics = {"largest": largest.size, "node": largest.node}
    return passed(reason, compared=len(half), statistics=statistics)


def _of_provider(subject: Subject, made: list[_ProducedTensor]) -> CheckResult:
    provider, outside = subject.case.provider, [one for one in made if one.exceeds_float16]
    reason = f"all {len(made)} tensors stay within float16's range"
    if outside:
        reason = (
            f"{len(outside)} of {len(made)} tensors leave float16's range, the first at "
            f"{outside[0].node} ({outside[0].size:.4g}); right only where {provider} keeps them in "
            "float32, which the error budget judges"
        )
    statistics = {"beyond": len(outside), "node": outside[0].node if outside else ""}
    return passed(reason, compared=len(made), statistics=statistics)


def _tensors(subject: Subject, traced: dict[str, TensorRecord]) -> Iterator[_ProducedTensor]:
    """The tensors that lead to an answer, in the order in which they are made.

    What nobody reads is in no precision of the file's. An infinity that the file stores, such as
    what a mask adds, is no overflow: the audit of weights and the outputs judge it.
    """
    model = load_model(subject.artifact.path)
    infinite = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type in FLOATS and not np.isfinite(numpy_helper.to_array(tensor)).all()
    }
    answering = {name for node in answering_nodes(model) for name in node.output}
    for node in model.graph.node:
        if answering.isdisjoint(node.output):
            continue
        known = [traced[name] for name in node.input if name in traced]
        finite = not (
            node.op_type in CONSTANT_OPERATORS
            or infinite.intersection(node.input)
            or any(record["nonfinite"] for record in known)
        )
        for output in node.output:
            if output in traced:
                yield _ProducedTensor(
                    f"{node.op_type} '{node.name or output}'", traced[output], finite
                )


SMALLEST_PROBABILITY = np.finfo(np.float32).tiny  # of a softmax whose logarithm is taken
# The case on which their negative controls are tried.
CLASSIFIER = DerivedCase(
    "digits_cnn", "torch_torchscript", 14, "cpu", variant="int8_static", precision=INT8
)


class Unanswered(Exception):
    """The session did not answer, or not in the right shape; the text is the reason."""


@dataclass(frozen=True)
class PairedOutputs:
    """What native and the runtime answer to the same samples, output by output."""

    native: Outputs
    runtime: Outputs


def answers_to(subject: Subject, input_sets: list[Inputs]) -> PairedOutputs:
    """Both sides' answers to the samples of several inputs, joined.

    Raises:
        Unanswered: the session refused inputs, or answered in another structure.
    """
    native, runtime = [], []
    for inputs in input_sets:
        answer, wanted = subject.run(inputs), subject.native(inputs)
        if answer.outputs is None:
            raise Unanswered(unanswered(answer))
        problem = structure_problem(wanted, answer.outputs)
        if problem:
            raise Unanswered(problem)
        native.append(wanted)
        runtime.append(answer.outputs)
    return PairedOutputs(_joined(native), _joined(runtime))


def _joined(rows: list[Outputs]) -> Outputs:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def signal(spec: TensorSpec, values: Array) -> Array:
    """An output in float64; probabilities as their logits, of mean 0 in each sample."""
    exact = values.astype(np.float64)
    if spec.scale != "probabilities":
        return exact
    logits = np.log(np.maximum(exact, SMALLEST_PROBABILITY))
    centred: Array = logits - logits.mean(axis=-1, keepdims=True)
    return centred


@register_check(
    control="zero_points_wrong", families=("typical",), case=CLASSIFIER, precisions=(INT8,)
)
def check_sqnr(subject: Subject) -> CheckResult:
    """Signal to quantisation noise of each output, in dB.

    The signal is what moves with the input: an output that is mostly constant is not credited
    for its constant. Of probabilities it is the logits, since a few sure samples hide the others;
    of whole numbers and truth values it is what they name.
    """
    rule = subject.tolerances.rule("sqnr", subject.case)
    if not _is_quantised(subject):
        return failed(
            "nothing in the file is quantised, so int8's rules would be too loose; judge it as "
            "float32 (without --precision int8)",
        )
    input_sets = typical_inputs(subject.model, subject.seed)
    try:
        both = answers_to(subject, input_sets)
        found = {
            spec.name: _noise(
                spec, both.native[spec.name], both.runtime[spec.name], rule["confidence"]
            )
            for spec in subject.model.outputs
        }
    except (Unanswered, ValueError) as problem:
        return failed(str(problem))
    worst = min(found, key=lambda name: found[name].low)
    bound, decibels = found[worst].low, _decibels(found[worst])
    result: ResultFields = {
        "statistics": {name: asdict(interval) for name, interval in found.items()},
        "inputs": f"{found[worst].samples} typical samples",
    }
    if bound < rule["least_db"]:
        reason = f"output '{worst}': {decibels}, {rule['least_db']:g} dB required ({rule.origin})"
        return failed(reason, **result)
    return passed(f"output '{worst}': {decibels}", compared=found[worst].samples, **result)


def _is_quantised(subject: Subject) -> bool:
    """Whether a node that rounds has a part in the answer: one beside it makes nothing int8."""
    nodes = answering_nodes(load_model(subject.artifact.path, weights=False))
    return any(is_quantised(node) for node in nodes)


def _noise(spec: TensorSpec, native: Array, runtime: Array, confidence: float) -> Interval:
    if not spec.floating:
        return class_sqnr(native, runtime, confidence)
    signals = (signal(spec, side) for side in (native, runtime))
    return sqnr(*_moving(*signals), confidence)


def _moving(native: Array, runtime: Array) -> tuple[Array, Array]:
    """Both less native's mean over the samples."""
    middle = native.mean(axis=0)
    return native - middle, runtime - middle


def _decibels(found: Interval) -> str:
    least = f"at least {found.low:.1f} at {found.confidence:.0%}, {found.samples} samples"
    return f"{found.estimate:.1f} dB of signal to quantisation noise ({least})"


PER_BATCH = "DynamicQuantizeLinear"  # measures activations over whatever is in the batch


def _gives_numbers(model: ModelSpec) -> bool:
    return any(spec.floating for spec in model.outputs)


@register_check(
    control="follows_the_batch",
    families=("typical",),
    case=CLASSIFIER,
    where=_gives_numbers,
    precisions=(INT8,),
)
def check_composition(subject: Subject) -> CheckResult:
    """A sample's answer does not depend on its batch, beyond a share of the quantisation noise.

    Where the file measures activations batch by batch it does, by design: that is reported.
    """
    rule = subject.tolerances.rule("composition", subject.case)
    inputs = typical_inputs(subject.model, subject.seed)[0]
    samples = inputs.each_alone()
    try:
        together, apart = answers_to(subject, [inputs]), answers_to(subject, samples)
    except Unanswered as problem:
        return failed(str(problem))
    shares = {
        spec.name: _share(
            together.runtime[spec.name],
            apart.runtime[spec.name],
            together.native[spec.name],
            apart.native[spec.name],
        )
        for spec in subject.model.outputs
        if spec.floating
    }
    worst = max(shares, key=lambda name: shares[name])
    finding = (
        f"alone and among {len(samples)} samples it differs by {shares[worst]:.2g} of the "
        f"quantisation noise (output '{worst}')"
    )
    statistics = {"share_of_noise": shares}
    compared = sum(array.size for array in together.runtime.values())
    if PER_BATCH in subject.artifact.facts["nodes"]:
        reason = f"{finding}; allowed, because the file measures activations batch by batch"
        return passed(reason, compared=compared, statistics=statistics)
    if shares[worst] > rule["share_of_noise"]:
        reason = f"{finding}, allowed {rule['share_of_noise']:g} ({rule.origin})"
        return failed(reason, statistics=statistics)
    return passed(finding, compared=compared, statistics=statistics)


def _share(together: Array, apart: Array, native: Array, native_apart: Array) -> float:
    """How far batch mates move the answers over how far quantisation does, both root mean squares.

    What it moves in native itself (a BatchNorm without statistics) is right. Of the two distances
    from native the smaller: an error that batch mates add is no noise.
    """
    native_move = native.astype(np.float64) - native_apart
    moved = _rms(together.astype(np.float64) - apart - native_move)
    noise = min(
        _rms(side.astype(np.float64) - right)
        for side, right in ((together, native), (apart, native_apart))
    )
    if noise == 0.0:
        return 0.0 if moved == 0.0 else float("inf")
    return moved / noise


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
