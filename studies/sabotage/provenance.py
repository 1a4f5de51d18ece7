"""Right numbers from the wrong place: other files, other workers, judges that do not judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_conformance.checks.controls import CONTROLS, AlteredSubject, edited
from onnx_conformance.checks.registry import PLAIN_CASE
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.files import file_digest
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Answer, Subject
from studies.sabotage import RightOf, answer

OTHER_OPSET = replace(PLAIN_CASE, opset=23)


@answer("native weights are not intact")
def artifact_cached_for_other_weights(right_of: RightOf, folder: Path) -> Subject:
    """The cache hands out the file of another seed."""

    def edit(model: onnx.ModelProto) -> None:
        rng = np.random.default_rng(1)
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            other = rng.normal(0.0, array.std(), array.shape).astype(array.dtype)
            tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))

    return edited(right_of(PLAIN_CASE), folder, edit)


@answer("asked for opset 14, delivered 23")
def artifact_cached_for_another_opset(right_of: RightOf, folder: Path) -> Subject:
    """The cache hands out the file of another opset, which computes the same."""
    return right_of(PLAIN_CASE).with_artifact(right_of(OTHER_OPSET).artifact)


@answer("the outputs do not depend on the file")
def worker_returns_the_reference(right_of: RightOf, folder: Path) -> Subject:
    """The worker asks the native model and hands on its answer."""

    def parrot(other: Subject) -> Subject:
        return AlteredSubject(
            other, run=lambda inputs, repeat: Answer(other.native(inputs)), again=parrot
        )

    return parrot(right_of(PLAIN_CASE))


@answer("the session loaded files of digest")
def worker_loads_another_file(right_of: RightOf, folder: Path) -> Subject:
    """The session is of an equivalent file, not of the artifact."""
    return AlteredSubject(right_of(PLAIN_CASE), session=right_of(OTHER_OPSET).session)


@answer("the outputs do not depend on the file")
def worker_never_loads_the_artifact(right_of: RightOf, folder: Path) -> Subject:
    """The worker answers from a file of its own, and reports the digest of the one it was given."""
    return CONTROLS["another_file_answers"](right_of(PLAIN_CASE), folder)


@answer("the outputs do not depend on the file")
def answers_of_another_case(right_of: RightOf, folder: Path) -> Subject:
    """The session reuses what it heard in the case of another opset."""
    other = right_of(OTHER_OPSET)

    def reuse(subject: Subject) -> Subject:
        return AlteredSubject(
            subject, run=lambda inputs, repeat: other.run(inputs, repeat), again=reuse
        )

    return reuse(right_of(PLAIN_CASE))


@answer("changed since it was exported")
def file_rewritten_after_its_export(right_of: RightOf, folder: Path) -> Subject:
    """Something wrote to the artifact between export and load."""
    right, path = right_of(PLAIN_CASE), folder / "model.onnx"
    path.write_bytes(right.artifact.path.read_bytes())
    exported = replace(right.artifact, path=path, files=(path,), sha256=(file_digest(path),))
    model = onnx.load(path)
    model.doc_string = "touched"
    onnx.save(model, path)
    return right.with_artifact(exported)


@answer("CPUExecutionProvider ran no node; what ran: SomeOtherExecutionProvider")
def provider_fell_back_in_silence(right_of: RightOf, folder: Path) -> Subject:
    """The session opened, and every node runs on another provider."""
    return CONTROLS["provider_ran_nothing"](right_of(PLAIN_CASE), folder)


@answer("a model that barely depends on its input proves nothing")
def a_model_that_is_not_alive(right_of: RightOf, folder: Path) -> Subject:
    """A freshly initialised classifier says 0.2 to everything, and so does its export."""
    subject = right_of(PLAIN_CASE)

    def flat(outputs: Outputs) -> Outputs:
        return {name: np.full_like(array, 0.2) for name, array in outputs.items()}

    def reference(inputs: Inputs) -> Reference:
        right = subject.reference(inputs)
        return Reference(flat(right.oracle), flat(right.native), tuple(map(flat, right.replicas)))

    return AlteredSubject(
        subject,
        reference=reference,
        native=lambda inputs: flat(subject.native(inputs)),
        run=lambda inputs, repeat: Answer(flat(subject.native(inputs))),
    )


@answer("differs in NaN")
def a_native_side_that_is_NaN(right_of: RightOf, folder: Path) -> Subject:
    """Oracle and native overflowed to NaN, from which no distance can be taken."""
    subject = right_of(PLAIN_CASE)

    def lost(outputs: Outputs) -> Outputs:
        return {name: np.full_like(array, np.nan) for name, array in outputs.items()}

    def reference(inputs: Inputs) -> Reference:
        right = subject.reference(inputs)
        return Reference(lost(right.oracle), lost(right.native), tuple(map(lost, right.replicas)))

    native = lambda inputs: lost(subject.native(inputs))  # noqa: E731
    return AlteredSubject(subject, reference=reference, native=native)
