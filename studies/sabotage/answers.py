"""Answers that are not the model's: workers that answer something else, or in another form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from onnx_conformance.checks.controls import CONTROLS, AlteredSubject, changed
from onnx_conformance.checks.registry import PLAIN_CASE
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.documents import TensorFacts
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Answer, Subject
from studies.sabotage import RightOf, answer

Parts = dict[str, slice]
HALVES: Parts = {"first": slice(0, 2), "second": slice(2, 4)}


def each(subject: Subject, change: object) -> Subject:
    """The subject with every output array changed."""
    return changed(
        subject, lambda outputs, inputs, repeat: {n: change(a) for n, a in outputs.items()}
    )


@answer("got 0 ")
def all_zero(right_of: RightOf, folder: Path) -> Subject:
    """The worker hands back its output buffers as it allocated them."""
    return each(right_of(PLAIN_CASE), np.zeros_like)


@answer("differs in NaN")
def all_NaN(right_of: RightOf, folder: Path) -> Subject:
    """Every output is NaN, which no comparison by `>` notices."""
    return each(right_of(PLAIN_CASE), lambda array: np.full_like(array, np.nan))


@answer("got 0.25 ")
def constant(right_of: RightOf, folder: Path) -> Subject:
    """The graph was folded to a constant."""
    return each(right_of(PLAIN_CASE), lambda array: np.full_like(array, 0.25))


@answer("at batch 2, sample ")
def another_samples_row(right_of: RightOf, folder: Path) -> Subject:
    """Each sample gets the answer of the one before it; alone it is right."""
    return each(right_of(PLAIN_CASE), lambda array: np.roll(array, 1, axis=0))


@answer("at batch 4, sample")
def rows_shuffled(right_of: RightOf, folder: Path) -> Subject:
    """From batch 3 on two samples change places."""

    def shuffle(array: Array) -> Array:
        order = np.arange(len(array))
        order[1:3] = order[1:3][::-1]
        return array[order]

    return each(right_of(PLAIN_CASE), shuffle)


@answer("has dtype float64, expected float32")
def right_values_in_a_wrong_dtype(right_of: RightOf, folder: Path) -> Subject:
    """The values are right, as float64."""
    return each(right_of(PLAIN_CASE), lambda array: array.astype(np.float64))


def in_parts(subject: Subject, parts: Parts) -> Subject:
    """The same conversion, seen as one of a model whose outputs are columns of the only output."""
    [whole] = subject.model.outputs

    def cut(outputs: Outputs) -> Outputs:
        return {name: outputs[whole.name][:, columns] for name, columns in parts.items()}

    def reference(inputs: Inputs) -> Reference:
        exact = subject.reference(inputs)
        replicas = tuple(cut(replica) for replica in exact.replicas)
        return Reference(cut(exact.oracle), cut(exact.native), replicas)

    def run(inputs: Inputs, repeat: int) -> Answer:
        answer = subject.run(inputs, repeat)
        return answer if answer.outputs is None else Answer(cut(answer.outputs))

    axis = whole.shape[0]
    sizes = {name: columns.stop - columns.start for name, columns in parts.items()}
    tensor = subject.artifact.facts["outputs"][0]
    tensors = [{**tensor, "name": n, "shape": [axis, size]} for n, size in sizes.items()]
    facts = {**subject.artifact.facts, "outputs": tensors}
    return AlteredSubject(
        subject,
        artifact=replace(subject.artifact, facts=facts),
        model=replace(
            subject.model, outputs=tuple(TensorSpec(n, (axis, size)) for n, size in sizes.items())
        ),
        run=run,
        reference=reference,
        native=lambda inputs: cut(subject.native(inputs)),
        again=lambda other: in_parts(other, parts),
    )


def told_otherwise(subject: Subject, names: list[str]) -> Subject:
    """The subject whose file and worker have the outputs ``names``, in that order."""
    facts = subject.artifact.facts
    known = {tensor["name"]: tensor for tensor in facts["outputs"]}
    spare = facts["outputs"][0]
    tensors: list[TensorFacts] = [{**known.get(name, spare), "name": name} for name in names]
    other = AlteredSubject(
        subject, artifact=replace(subject.artifact, facts={**facts, "outputs": tensors})
    )

    def pick(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
        first = next(iter(outputs.values()))
        return {name: outputs.get(name, first) for name in names}

    return changed(other, pick)


@answer("has shape (4,), expected (4, 1)")
def n_for_n_1(right_of: RightOf, folder: Path) -> Subject:
    """The last axis of size 1 was squeezed: (4,) for (4, 1), which broadcasts to (4, 4)."""
    column = in_parts(right_of(PLAIN_CASE), {"output": slice(0, 1)})
    return each(column, lambda array: array.ravel())


@answer("1 outputs ['first'], expected 2")
def one_output_missing(right_of: RightOf, folder: Path) -> Subject:
    """The second of two outputs was dropped, and `zip` does not mind."""
    return told_otherwise(in_parts(right_of(PLAIN_CASE), HALVES), ["first"])


@answer("3 outputs ['first', 'second', 'hidden'], expected 2")
def an_extra_output(right_of: RightOf, folder: Path) -> Subject:
    """A hidden value became an output, behind the right ones."""
    return told_otherwise(in_parts(right_of(PLAIN_CASE), HALVES), ["first", "second", "hidden"])


@answer("outputs stand in the order ['second', 'first']")
def outputs_in_another_order(right_of: RightOf, folder: Path) -> Subject:
    """Right values under right names, in another order: who takes outputs by place is wrong."""
    return told_otherwise(in_parts(right_of(PLAIN_CASE), HALVES), ["second", "first"])


@answer("output 'first' is not close to native torch")
def values_under_swapped_names(right_of: RightOf, folder: Path) -> Subject:
    """Two outputs of one shape have each other's names."""

    def swap(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
        return dict(zip(outputs, reversed(list(outputs.values())), strict=True))

    return changed(in_parts(right_of(PLAIN_CASE), HALVES), swap)


@answer("two runs differ in")
def never_the_same_twice(right_of: RightOf, folder: Path) -> Subject:
    """The second run of a set of inputs differs in the last bit."""
    return CONTROLS["not_repeatable"](right_of(PLAIN_CASE), folder)


@answer("output 'output' differs from native torch")
def the_first_answer_given_to_all(right_of: RightOf, folder: Path) -> Subject:
    """A cache of answers that knows a set of inputs by its shape alone."""
    subject = right_of(PLAIN_CASE)
    known: dict[tuple[int, ...], Answer] = {}

    def run(inputs: Inputs, repeat: int) -> Answer:
        shape = next(iter(inputs.values())).shape
        other = Inputs((name, np.zeros_like(array)) for name, array in inputs.items())
        return known.setdefault(shape, subject.run(other, repeat))

    return AlteredSubject(subject, run=run)
