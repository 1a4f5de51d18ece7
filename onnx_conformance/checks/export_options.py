"""Checks of export options: static batch, no weights in the file, weights beside the graph."""

from __future__ import annotations

import numpy as np

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.registry import register_check
from onnx_conformance.checks.verdict import judge
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.results import CheckResult, failed, passed
from onnx_conformance.core.spec import STATIC_BATCH, ModelSpec
from onnx_conformance.inputs.batch_layout import native_layout
from onnx_conformance.inputs.families import InputPlan, input_family, materialise
from onnx_conformance.inputs.recipes import Inputs, RawInputs, Recipe
from onnx_conformance.run.subject import Subject

# The checks, by option, that show that it was applied and that the file is the same function.
REQUIRED_BY_OPTION = {
    "no_params": ("weight_inputs",),
    "no_folding": ("folding", "error_budget"),
    "static_batch": ("static_batch", "error_budget"),
    "external_data": ("external_data", "error_budget"),
}
OTHER_BATCHES = (STATIC_BATCH - 1, STATIC_BATCH + 1)


def pair(seed: int, batch: int = STATIC_BATCH) -> Recipe:
    """Normal samples, as many as a static batch holds."""
    return Recipe("normal", batch=batch, seed=seed)


@input_family("pair")
def _pair_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(reference=(materialise(pair(seed), model),))


@input_family("other_batches")
def _other_batches_plan(model: ModelSpec, seed: int) -> InputPlan:
    input_sets = (_one_call(model, pair(seed, batch)) for batch in OTHER_BATCHES)
    return InputPlan(runtime=tuple(input_sets))


def _one_call(model: ModelSpec, recipe: Recipe) -> RawInputs:
    """A recipe's samples in one call, whatever number the file takes."""
    return RawInputs(native_layout(model).calls(materialise(recipe, model))[0])


def _case_with(**options: bool) -> Case:
    return Case("simple_net", "torch_torchscript", 14, "cpu", ExportOptions(**options))


@register_check(
    control="identity_appended",
    calls=lambda model, seed: {"": {"wanted": "Gemm Relu Gemm"}},
    required=False,
)
def check_operators(subject: Subject, wanted: str) -> CheckResult:
    """The graph is known: these operators, separated by spaces, in this order."""
    graph = load_model(subject.artifact.path, weights=False).graph
    found = " ".join(node.op_type for node in graph.node)
    if found != wanted:
        return failed(f"the nodes are '{found}', expected '{wanted}'")
    return passed(f"the nodes are '{found}'", compared=len(graph.node))


@register_check(control="batch_norm_appended", required=False)
def check_folding(subject: Subject) -> CheckResult:
    """Every BatchNorm of the native model is a node without folding, and none is with it."""
    nodes = subject.artifact.facts["nodes"]
    found = nodes.get("BatchNormalization", 0)
    native = len(subject.weights.batch_norms)
    folding = subject.case.options.constant_folding
    wanted = 0 if folding else native
    text = f"{found} BatchNormalization nodes for the native model's {native}"
    if found != wanted:
        with_or_without = "with" if folding else "without"
        return failed(f"{text}, expected {wanted} {with_or_without} constant folding")
    return passed(text, compared=sum(nodes.values()))


@register_check(
    control="batch_axis_freed",
    families=("other_batches",),
    case=_case_with(dynamic_batch=False),
    required=False,
)
def check_static_batch(subject: Subject) -> CheckResult:
    """The batch axis of every input and output is exactly the example's, and no other is taken."""
    tensors = [*subject.artifact.facts["inputs"], *subject.artifact.facts["outputs"]]
    axes = [spec.batch_axis for spec in (*subject.model.inputs, *subject.model.outputs)]
    for tensor, axis in zip(tensors, axes, strict=True):
        size = "not told" if axis is None or tensor["shape"] is None else tensor["shape"][axis]
        if axis is not None and size != STATIC_BATCH:
            reason = f"the batch axis of '{tensor['name']}' is {size}"
            return failed(f"{reason}, not {STATIC_BATCH}")
    for batch in OTHER_BATCHES:
        recipe = pair(subject.seed, batch)
        inputs = _one_call(subject.model, recipe)
        answer = subject.run(inputs)
        if answer.error is None:
            return failed(
                f"the session answered a batch of {batch}, though the axis says {STATIC_BATCH}",
                inputs=str(recipe),
                reproduction=reproduction.accepted(inputs, answer.outputs),
            )
    refused = " and ".join(map(str, OTHER_BATCHES))
    return passed(
        f"batch {STATIC_BATCH} throughout, {refused} refused",
        compared=len(tensors) + len(OTHER_BATCHES),
    )


@register_check(
    control="weight_inputs_reordered",
    families=("pair",),
    case=_case_with(export_params=False),
    required=False,
)
def check_weight_inputs(subject: Subject) -> CheckResult:
    """The file holds no weight: they are inputs, in native order, and with them it is the model."""
    facts = subject.artifact.facts
    if facts["initializers"]["elements"]:
        return failed(f"the file contains {facts['initializers']['elements']} weights")
    weights = _float_weights(subject)
    inputs = [(tensor["name"], tuple((tensor["shape"] or [])[1:])) for tensor in facts["inputs"]]
    wanted = [(spec.name, spec.shape[1:]) for spec in subject.model.inputs]
    wanted += [(label, array.shape[1:]) for label, array in weights.items()]
    if inputs != wanted:
        found = ", ".join(label for label, _ in inputs)
        return failed(f"the inputs are {found}, expected {', '.join(w for w, _ in wanted)}")
    recipe = pair(subject.seed)
    input_set = materialise(recipe, subject.model)
    alone = subject.run(input_set)
    if alone.error is None:
        return failed(
            "the session answers without being fed the weights",
            inputs=str(recipe),
            reproduction=reproduction.accepted(input_set, alone.outputs),
        )
    label = f"{recipe} and the native weights"
    return judge(subject, input_set, label, session_inputs=Inputs({**input_set, **weights}))


def _float_weights(subject: Subject) -> dict[str, Array]:
    """The native weights that compute: without counters such as BatchNorm's."""
    arrays = subject.weights.arrays
    return {n: a for n, a in arrays.items() if np.issubdtype(a.dtype, np.floating)}


@register_check(control="data_file_changed", case=_case_with(external_data=True), required=False)
def check_external_data(subject: Subject) -> CheckResult:
    """Weights stand in a file beside the graph; the session loaded both as they were exported."""
    artifact = subject.artifact
    if len(artifact.files) != 2:
        return failed(f"the export has {len(artifact.files)} files, expected graph and data")
    graph = load_model(artifact.path, weights=False).graph
    outside = [tensor for tensor in graph.initializer if tensor.external_data]
    if not any(len(tensor.dims) > 1 for tensor in outside):
        return failed("every weight matrix is in the graph's own file")
    now = tuple(file_digest(path) for path in artifact.files)
    if now != artifact.sha256:  # asked before the session, which would refuse to load them
        exported = zip(artifact.files, artifact.sha256, strict=True)
        changed = ", ".join(path.name for path, sha256 in exported if sha256 not in now)
        return failed(f"{changed} is not what was exported: it changed since")
    if subject.session.sha256 != artifact.sha256:
        return failed("the session loaded other files than were exported")
    return passed(
        f"{len(outside)} of {len(graph.initializer)} weights in {artifact.files[1].name}; "
        "both files loaded as exported",
        compared=len(outside) + len(now),
    )
