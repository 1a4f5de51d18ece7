"""Untraced weights, which the audit cannot find in the file: whether inputs may judge them.

They may if every such tensor moves the outputs on the inputs that are run, nearly all its elements,
and if the answers to those inputs are right with a margin. Rows of a table that no input asks for,
or a branch that none takes, would be judged by nothing.
"""

from __future__ import annotations

from onnx_conformance.checks.audit.report import AuditReport
from onnx_conformance.checks.verdict import judge
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.tolerances import FLOAT32, Rule
from onnx_conformance.inputs.families import ORDINARY, chosen, materialise
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.session.subject import Subject

CHECK, RULE = "initializers", "untraced"
SAMPLES = 8  # of each recipe that is run besides the ordinary ones


def why_inputs_cannot_judge(subject: Subject, report: AuditReport) -> str:
    """Why a report's failures stand; empty if all are of weights that inputs judge.

    Only in float32: coarser answers see too little of a weight.
    """
    if subject.case.precision != FLOAT32 or not subject.model.oracle:
        return "inputs judge weights only in a float32 case with a float64 oracle"
    if {finding.status for finding in report.failures} != {"untraced"}:
        return "not all of them can have been merged into another tensor"
    rule = subject.tolerances.rule(RULE, subject.case)
    input_sets = _input_sets(subject)
    names = [finding.native for finding in report.failures]
    return _unseen(subject, names, input_sets, rule) or _wrong(subject, input_sets, rule)


def _input_sets(subject: Subject) -> dict[str, Inputs]:
    recipes = [Recipe(kind, batch=SAMPLES, seed=subject.seed + 7) for kind in ("normal", "uniform")]
    plain = dict(zip(ORDINARY, chosen(ORDINARY, subject.model, subject.seed), strict=True))
    return plain | {str(recipe): materialise(recipe, subject.model) for recipe in recipes}


def _unseen(subject: Subject, names: list[str], input_sets: dict[str, Inputs], rule: Rule) -> str:
    """What is said of the tensor that the outputs depend on least, where that is too little."""
    try:
        shares = subject.influence(names, list(input_sets.values()), rule["least_effect"])
    except StageFailure as failure:
        return f"what the outputs depend on is not known ({failure.reason[:120]})"
    name = min(names, key=lambda one: shares.get(one, 0.0))
    share = shares.get(name, 0.0)
    if share >= rule["seen_share"]:
        return ""
    return (
        f"on {len(input_sets)} inputs the outputs depend on {share:.0%} of the elements of "
        f"'{name}'; at least {rule['seen_share']:.0%} is required ({rule.origin})"
    )


def _wrong(subject: Subject, input_sets: dict[str, Inputs], rule: Rule) -> str:
    """What is said of the answer that is not right with a margin."""
    for label, inputs in input_sets.items():
        result = judge(subject, CHECK, inputs, label)
        if result.outcome == "skipped":
            continue
        share = (result.score or 0.0) / (result.budget or 1.0)
        if not result.passed:
            return f"the answer to {label} is wrong: {result.reason}"
        if share > rule["margin"]:
            return (
                f"the answer to {label} takes {share:.0%} of the error budget; at most "
                f"{rule['margin']:.0%} is allowed ({rule.origin})"
            )
    return ""
