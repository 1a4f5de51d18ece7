"""Build a registered model, run it, and return its spec with its outputs."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core import bfloat16
from onnx_conformance.core.comparison import Outputs
from onnx_conformance.core.compute_modes import FLOAT32
from onnx_conformance.core.custom_operators import library_problem, operators_of
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.native_request import digest_arrays
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.sample_arrays import layout_of
from onnx_conformance.inputs.tasks import TASKS
from onnx_conformance.workers.import_code import user_sources
from onnx_conformance.workers.native import call_builder
from onnx_conformance.workers.user_model.build import built_model
from onnx_conformance.workers.user_model.built_model import BuiltModel, unnamed
from onnx_conformance.workers.user_model.carried import carrying
from onnx_conformance.workers.user_model.fixed_batch import grouped, with_batch
from onnx_conformance.workers.user_model.infer_spec import sized_by_values
from onnx_conformance.workers.user_model.opened_files import data_files, digests, opened_files
from onnx_conformance.workers.user_model.validation import (
    RUNS,
    SMALL,
    check_calibrable,
    check_inputs,
    check_oracle,
    check_steady,
    checked_axes,
    checked_outputs,
    run_of,
    specs_of_inputs,
    varied,
)


def specify(
    one: Declaration,
    reference: str,
    arguments: tuple[str, ...],
    weights: str,
    seed: int,
    *,
    threads: int | None,
) -> ModelSpec:
    """Build a declared model, run it, and say what it is.

    Args:
        reference, arguments: how workers build it.
        threads: of torch; None leaves them as they are.

    Raises:
        UsageError: what is wrong with the model or its declaration, in one sentence.
    """
    with opened_files() as opened:
        spec, state = _specified(one, reference, arguments, weights, seed, threads=threads)
    reads = digests(data_files(opened))
    for digest in sorted(reads.values()):
        state.update(digest.encode())
    return replace(spec, fingerprint=state.hexdigest(), reads=tuple(sorted(reads.items())))


def _specified(
    one: Declaration,
    reference: str,
    arguments: tuple[str, ...],
    weights: str,
    seed: int,
    *,
    threads: int | None,
) -> tuple[ModelSpec, Any]:
    """The spec but for the files that were read, and the digest so far."""
    libraries = _libraries(one, arguments)
    model, examples = _built(one, arguments, weights, seed)
    built = built_model(one.name, model, threads, one.inputs)
    notes = built.notes
    found = specs_of_inputs(one, examples, built)
    inputs = found.inputs
    guessed = not one.inputs and (examples is not None or built.framework == "onnx")
    if guessed and list(inputs) != examples:
        notes = (f"its inputs were understood as {found}", *notes)
    one = replace(one, axes=tuple({**dict(found.axes), **dict(one.axes)}.items()))
    axes = checked_axes(one, inputs)
    check_inputs(one.name, inputs, built)
    if one.calibrate:
        check_calibrable(one.name, inputs)
    inputs, group = grouped(inputs, axes, built)
    recipes = (*RUNS, *([SMALL] if axes else ()))
    runs = [run_of(one.name, built, inputs, axes, recipe, group) for recipe in recipes]
    valued = [run_of(one.name, built, inputs, axes, recipe, group) for recipe in varied(inputs)]
    layout = layout_of(inputs, (), group)
    calls_of_runs = [layout.calls(recipe.inputs(inputs, axes))[0] for recipe in RUNS]
    oracle = one.oracle and built.framework != "python"
    if oracle and built.oracle is None:
        check_oracle(one.name, built, inputs, calls_of_runs[0])
    # what float64 keeps of boxes may be more than float32 keeps: sizes hang on such values too
    calls = (*(call for run in (runs[0], *valued) for call in run.calls), *built.in_float64)
    outputs = checked_outputs(one, inputs, [replace(runs[0], calls=calls), *runs[1:]])
    outputs = with_batch(outputs) if group else outputs
    outputs = tuple(
        replace(spec, dtype=bfloat16.NAME) if place in built.bfloat16 else spec
        for place, spec in enumerate(outputs)
    )
    check_steady(one.name, built, inputs, axes, runs[0].calls[0], group)
    agreed = None
    if oracle and built.oracle is not None:  # a file is as it is: without, allclose has to do
        agreed = built.oracle(calls_of_runs)
        oracle = not agreed.problem
    spec = ModelSpec(
        name=one.name,
        framework=built.framework,
        inputs=inputs,
        outputs=outputs,
        builder=reference,
        arguments=arguments,
        trained=not one.calibrate,
        labels=one.labels,
        task=one.task and TASKS[one.task].name,
        preprocessing=one.preprocessing,
        packages=_packages(),
        axes=axes,
        oracle=oracle,
        libraries=libraries,
        basis=agreed.basis if agreed else "",
        kernels=agreed.kernels if agreed else (),
        notes=notes,
        parameters=built.weights,
        group=group,
        unnamed=() if one.outputs else unnamed([spec.name for spec in outputs]),
        by_values=sized_by_values([spec.name for spec in outputs], calls),
        computes=next(iter(built.computes), FLOAT32),
        exact=tuple(
            spec.name
            for place, spec in enumerate(outputs)
            if place in built.exact and spec.dtype == FLOAT32
        ),
    )
    spec = carrying(spec, one, built)
    return spec, _fingerprint(built, [run.rows for run in runs])


def _libraries(one: Declaration, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The model's custom-operator libraries, each of which is there."""
    libraries = operators_of(one.builder, arguments).libraries
    for library in libraries:
        problem = library_problem(library)
        if problem is not None:
            raise UsageError(f"model '{one.name}': {problem}")
    return libraries


def _built(one: Declaration, arguments: tuple[str, ...], weights: str, seed: int) -> Any:
    _seed(seed)
    policy = _keras_policy()
    try:
        built = call_builder(one.builder, list(arguments), weights == "pretrained")
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"model '{one.name}' cannot be built: {type(error).__name__}: {error}{_lost(error)}"
        ) from error
    _restore(policy)
    return built if isinstance(built, tuple) else (built, one.examples)


def _lost(error: BaseException) -> str:
    """Where a relative path was looked for: under make it is not the user's own folder."""
    name = getattr(error, "filename", None)
    if not isinstance(error, FileNotFoundError) or not name or Path(str(name)).is_absolute():
        return ""
    place = f'Path(__file__).with_name("{Path(str(name)).name}")'
    return f" (looked for in {Path.cwd()}; {place} finds it beside your file)"


def _seed(seed: int) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(seed)


def _keras_policy() -> Any:
    keras = sys.modules.get("keras")
    return None if keras is None else keras.config.dtype_policy()


def _restore(policy: Any) -> None:
    """Keras' policy as it was: what a builder leaves is not the next one's."""
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.config.set_dtype_policy(policy or keras.config.floatx())


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
    owners = metadata.packages_distributions()
    return tuple(sorted({owner for top in tops for owner in owners.get(top, ())}))
