"""Build a registered model, or copy a live one, run it, and return its spec with its outputs."""

from __future__ import annotations

import functools
import hashlib
import itertools
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core import bfloat16
from onnx_conformance.core.arrays import Outputs, digest_arrays
from onnx_conformance.core.compute_modes import FLOAT32
from onnx_conformance.core.custom_operators import (
    ATTRIBUTE,
    PAGE,
    CustomOperators,
    library_problem,
    operators_of,
)
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.tasks import TASKS
from onnx_conformance.workers.built_model import BuiltModel, FileOracle, unnamed
from onnx_conformance.workers.import_code import user_sources
from onnx_conformance.workers.server import load_object
from onnx_conformance.workers.user_model.build import build, built_model, owner_of
from onnx_conformance.workers.user_model.carried import carrying
from onnx_conformance.workers.user_model.fixed_batch import grouped, with_batch
from onnx_conformance.workers.user_model.infer_spec import TrialRun, sized_by_values
from onnx_conformance.workers.user_model.opened_files import data_files, digests, opened_files
from onnx_conformance.workers.user_model.validation import (
    RUNS,
    SMALL_RECIPE,
    SpecTrial,
    check_calibrable,
    check_inputs,
    check_oracle,
    check_steady,
    checked_axes,
    checked_outputs,
    specs_of_inputs,
    varied,
)


def specify(
    declaration: Declaration,
    reference: str,
    arguments: tuple[str, ...],
    weights: str,
    seed: int,
    *,
    threads: int | None,
) -> ModelSpec:
    """Build a declared model, run it, and return its spec.

    Args:
        reference, arguments: how workers build it.
        threads: of torch; None leaves them as they are.

    Raises:
        UsageError: what is wrong with the model or its declaration, in one sentence.
    """
    with opened_files() as opened:
        libraries = _libraries(declaration, arguments)
        model, examples = build(declaration, arguments, weights, seed)
        trial, notes = _trial(
            declaration, examples, built_model(declaration.name, model, threads, declaration.inputs)
        )
        spec, state = _specified(declaration, trial)
    reads = digests(data_files(opened))
    for digest in sorted(reads.values()):
        state.update(digest.encode())
    return replace(
        spec,
        builder=reference,
        arguments=arguments,
        libraries=libraries,
        notes=(*notes, *spec.notes),
        fingerprint=state.hexdigest(),
        reads=tuple(sorted(reads.items())),
    )


def _trial(
    declaration: Declaration, examples: Any, built: BuiltModel
) -> tuple[SpecTrial, tuple[str, ...]]:
    """The model with its inputs, declared or inferred, and what a reader should know of them."""
    notes = built.notes
    found = specs_of_inputs(declaration, examples, built)
    guessed = not declaration.inputs and (examples is not None or built.framework == "onnx")
    if guessed and list(found.inputs) != examples:
        notes = (f"its inputs were understood as {found}", *notes)
    axes = checked_axes(
        declaration.name, found.inputs, {**dict(found.axes), **dict(declaration.axes)}
    )
    check_inputs(declaration.name, found.inputs, built)
    if declaration.calibrate:
        check_calibrable(declaration.name, found.inputs)
    inputs, group = grouped(found.inputs, axes, built)
    return SpecTrial(declaration.name, built, inputs, axes, group), notes


def _specified(declaration: Declaration, trial: SpecTrial) -> tuple[ModelSpec, Any]:
    """The spec, and a digest of what the model is but for the files that it reads."""
    built = trial.built
    runs = [trial.run(recipe) for recipe in (*RUNS, *([SMALL_RECIPE] if trial.axes else ()))]
    of_one_size = [call for recipe in varied(trial.inputs) for call in trial.run(recipe).calls]
    oracle, agreed = _oracle(declaration, trial)
    # float64 may keep more boxes than float32: sizes hang on such values too
    first = replace(runs[0], calls=(*runs[0].calls, *of_one_size, *built.seen.in_float64))
    outputs = _outputs(declaration, trial, [first, *runs[1:]])
    names = [spec.name for spec in outputs]
    check_steady(trial, runs[0].calls[0])
    spec = ModelSpec(
        name=declaration.name,
        framework=built.framework,
        inputs=trial.inputs,
        outputs=outputs,
        builder="",
        trained=not declaration.calibrate,
        labels=declaration.labels,
        task=declaration.task and TASKS[declaration.task].name,
        preprocessing=declaration.preprocessing,
        packages=_packages(),
        axes=trial.axes,
        oracle=oracle,
        basis=agreed.basis if agreed else "",
        kernels=agreed.kernels if agreed else (),
        parameters=built.weights,
        group=trial.group,
        unnamed=_made_up(declaration, trial, names),
        by_values=sized_by_values(names, first.calls),
        computes=built.seen.precision or FLOAT32,
        exact=tuple(
            spec.name
            for place, spec in enumerate(outputs)
            if place in (built.seen.exact or ()) and spec.dtype == FLOAT32
        ),
    )
    return carrying(spec, declaration, built), _fingerprint(built, [run.rows for run in runs])


def _made_up(declaration: Declaration, trial: SpecTrial, outputs: Sequence[str]) -> tuple[str, ...]:
    """The names that neither the declaration nor the model gave.

    Those of outputs without any, and of tensors inside an argument or an answer (a cache, a dict),
    whose names are joined with dots here. An ONNX file names all of its own.
    """
    inputs = () if declaration.inputs else tuple(spec.name for spec in trial.inputs)
    answers = () if declaration.outputs else tuple(outputs)
    joined = [name for name in (*inputs, *answers) if "." in name]
    return (*unnamed(answers), *(joined if trial.built.framework != "onnx" else ()))


def _outputs(
    declaration: Declaration, trial: SpecTrial, runs: Sequence[TrialRun]
) -> tuple[TensorSpec, ...]:
    outputs = checked_outputs(declaration, trial.inputs, runs)
    outputs = with_batch(outputs) if trial.group else outputs
    return tuple(
        replace(spec, dtype=bfloat16.NAME) if place in trial.built.seen.bfloat16 else spec
        for place, spec in enumerate(outputs)
    )


def _oracle(declaration: Declaration, trial: SpecTrial) -> tuple[bool, FileOracle | None]:
    """Whether the model is computed in float64, and how, of an ONNX file.

    A file is as it is: without, allclose has to do.
    """
    if not declaration.oracle or trial.built.framework == "python":
        return False, None
    if trial.built.oracle is None:
        check_oracle(trial, trial.first_call(RUNS[0]))
        return True, None
    agreed = trial.built.oracle([trial.first_call(recipe) for recipe in RUNS])
    return not agreed.problem, agreed


def _libraries(declaration: Declaration, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The model's custom-operator libraries, each of which is there."""
    libraries = operators_of(declaration.builder, arguments).libraries
    for library in libraries:
        problem = library_problem(library)
        if problem is not None:
            raise UsageError(f"model '{declaration.name}': {problem}")
    return libraries


def _fingerprint(built: BuiltModel, answers: Sequence[Outputs]) -> Any:
    """A digest of the user's sources, of the weights that the model was built with, and of answers.

    What else shapes the model, such as the environment, shows there. Files that its code opens
    come on top.
    """
    state = hashlib.sha256(built.digest.encode())
    for outputs in answers:
        state.update(digest_arrays(dict(outputs)).encode())
    for path in user_sources():
        state.update(path.name.encode() + b":" + path.read_bytes())
    return state


def _packages() -> tuple[str, ...]:
    """The distributions whose modules were imported."""
    tops = {name.partition(".")[0] for name in list(sys.modules)}
    owners = _owners()
    return tuple(sorted({owner for top in tops for owner in owners.get(top, ())}))


@functools.cache  # half a second, for each of the files of a folder
def _owners() -> Mapping[str, list[str]]:
    """The distributions of each module that is installed."""
    return metadata.packages_distributions()


# -- live models, which ``certify`` gets as objects of the caller's process

_COPIERS: dict[str, Callable[[], Any]] = {}  # of live models, by token
_OPERATORS: dict[str, CustomOperators] = {}
_NUMBERS = itertools.count(1)


def describe_live(
    model: Any,
    declaration: Declaration,
    seed: int,
    folder: Path,
    operators: CustomOperators | None = None,
) -> ModelSpec:
    """The spec of a live model.

    It is copied by workers in this process; or, where its framework's record says so, written to
    ``folder`` and read by a worker of its own.

    Raises:
        UsageError: the model or its spec is wrong, in one sentence.
    """
    framework, models = owner_of(declaration.name, model)
    if framework.runs_live:
        reference, token = f"{__name__}:{model_copy.__name__}", str(next(_NUMBERS))
        _COPIERS[token] = models.copier(model)
        if operators is not None:
            _OPERATORS[token] = operators
    elif operators is not None:
        raise UsageError(
            f"certify: a {framework.title} model is exported by another process, which functions "
            f"cannot reach; register the model in a file, with @custom_operators ({PAGE})"
        )
    else:
        reference, token = models.save(model, folder)
    own = replace(declaration, builder=load_object(reference))
    found = specify(own, reference, (token,), "calibrated", seed, threads=None)
    # its code may stand in a notebook, where nobody sees it change: no result outlives it
    return replace(found, fingerprint=f"{found.fingerprint} {uuid.uuid4()}")


def model_copy(token: str) -> Any:
    """A copy of a live model."""
    return _COPIERS[token]()


setattr(model_copy, ATTRIBUTE, _OPERATORS.get)
