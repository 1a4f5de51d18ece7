"""Files that nobody here wrote: ONNX's own tests of its operators, rewritten rightly and wrongly.

    python -m studies.operators [--most N] [--seed N]

The package onnx brings a test of every operator. Many stand there twice: as one node, and expanded
into the simpler operators that define it. These are the right rewrites, judged in both directions.
A wrong file has one attribute, constant, operator or order of inputs changed, and answers that
differ from its original's in ONNX Runtime. Each folder is one run of the suite. The figures are
written to ``docs/operators.md``.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx.backend.test.case.node import collect_testcases

from studies.operator_edits import edits

PAGE = Path("docs/operators.md")
EXPANDED = "_expanded"
MOST_EDITS = 40  # tried of a file, until one changes what it answers
DRAWS = 4  # calls by which a changed answer is found
LEAST_CHANGE = 1e-3  # of an output's rms: what counts as another answer
# Expansions that are other functions for ONNX Runtime, established by hand.
OTHER_FUNCTIONS = {
    "Softplus": "log(exp(x) + 1) is infinite above 88, where the operator gives x",
    "MeanVarianceNormalization": "the expansion adds 1e-9 to the deviation: 0 for NaN",
    "DynamicQuantizeLinear": "the scale of all zeros is 0, the operator's is 1",
}


@dataclass(frozen=True)
class Pair:
    """A file and what it is to be judged by.

    Args:
        kind: ``right`` or ``wrong``.
        what: the operator, or the edit.
    """

    name: str
    kind: str
    what: str
    reference: onnx.ModelProto
    judged: onnx.ModelProto


def loads(model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime takes the file."""
    try:
        session_of(model)
    except Exception:  # noqa: BLE001 - onnxruntime raises many kinds
        return False
    return True


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    """The file as it is written, on the CPU."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def right_pairs(tests: dict[str, onnx.ModelProto], most: int) -> list[Pair]:
    """Operators and their expansions, at most ``most`` an operator and direction."""
    found: list[Pair] = []
    counts: Counter[str] = Counter()
    for name, expanded in tests.items():
        original = tests.get(name.split(EXPANDED)[0])
        if EXPANDED not in name or original is None:
            continue
        operator = original.graph.node[0].op_type
        if counts[operator] < most and loads(original) and loads(expanded):
            counts[operator] += 1
            found.append(Pair(f"{name}-expanded", "right", operator, original, expanded))
            found.append(Pair(f"{name}-folded", "right", operator, expanded, original))
    return found


def wrong_pairs(tests: dict[str, onnx.ModelProto], most: int) -> list[Pair]:
    """Files and a wrong edit of each, at most ``most`` for files of the same operators."""
    found: list[Pair] = []
    counts: Counter[tuple[str, ...]] = Counter()
    for name, model in tests.items():
        operators = tuple(sorted({node.op_type for node in model.graph.node}))
        if counts[operators] < most and (edit := _wrong_edit(model)) is not None:
            counts[operators] += 1
            found.append(Pair(f"{name}-wrong", "wrong", edit[0], model, edit[1]))
    return found


def _wrong_edit(model: onnx.ModelProto) -> tuple[str, onnx.ModelProto] | None:
    calls = [_call(model, seed) for seed in range(DRAWS)]
    answers = [_answers(model, call) for call in calls]
    if not model.graph.input or not all(answers):
        return None
    tried = list(edits(model))
    random.shuffle(tried)
    for what, edited in tried[:MOST_EDITS]:
        changed = [_answers(edited, call) for call in calls]
        if all(changed) and any(map(_differ, answers, changed)):
            return what, edited
    return None


def _call(model: onnx.ModelProto, seed: int) -> dict[str, np.ndarray]:
    rng, call = np.random.default_rng(seed), {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = [dim.dim_value or 3 for dim in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type or onnx.TensorProto.FLOAT)
        drawn = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 3, shape)
        call[value.name] = np.asarray(drawn).astype(dtype)
    return call


def _answers(model: onnx.ModelProto, call: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The answers; none where ONNX Runtime refuses, or answers with something else than arrays."""
    try:
        answers = session_of(model).run(None, call)
    except Exception:  # noqa: BLE001 - onnxruntime raises many kinds
        return []
    return answers if all(isinstance(one, np.ndarray) for one in answers) else []


def _differ(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return any(_far(a, b) for a, b in zip(one, other, strict=True))


def _far(one: np.ndarray, other: np.ndarray) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype) or one.dtype.kind not in "f":
        return not np.array_equal(one, other)
    rms = np.sqrt(np.mean(np.square(one, dtype=np.float64))) if one.size else 0.0
    atol = LEAST_CHANGE * float(np.nan_to_num(rms, posinf=0.0))
    return not np.allclose(one, other, 0.0, atol, equal_nan=True)


def judge(pairs: list[Pair], folder: Path) -> dict[str, str]:
    """The verdict by file; those whose reference the suite refuses are left out."""
    before, after, data = folder / "before", folder / "after", folder / "results.json"
    for place in (before, after):
        place.mkdir(parents=True)
    for pair in pairs:
        onnx.save(pair.reference, before / f"{pair.name}.onnx")
        onnx.save(pair.judged, after / f"{pair.name}.onnx")
    command = [sys.executable, "-m", "onnx_conformance", "run", f"--against={before}"]
    command += [f"--artifact={after}", "--provider=cpu", f"--report-json={data}", "--bundles=0"]
    subprocess.run(command, stdout=sys.stderr, check=False)
    cases = json.loads(data.read_text())["cases"]
    return {
        case["model"].removesuffix(".onnx"): "incomplete"
        if case["verdict"] == "passed" and not case["complete"]
        else case["verdict"]
        for case in cases
    }


def page_of(pairs: list[Pair], verdicts: dict[str, str]) -> str:
    """The figures, and by name what was judged otherwise than its kind says."""
    judged = [pair for pair in pairs if pair.name in verdicts]
    kinds = {kind: [pair for pair in judged if pair.kind == kind] for kind in ("right", "wrong")}
    lines = [
        "# Files of ONNX's own operator tests",
        "",
        "Written by `python -m studies.operators`; do not edit. What the files are stands in that "
        "module.",
        "",
        "| files | judged | passed | red | incomplete |",
        "|---|---|---|---|---|",
    ]
    for kind, found in kinds.items():
        counts = Counter(verdicts[pair.name] for pair in found)
        lines.append(
            f"| {kind} | {len(found)} | {counts['passed']} | {counts['failed']} "
            f"| {counts['incomplete']} |"
        )
    lines += ["", f"{len(pairs) - len(judged)} more were not judged: their reference is refused."]
    expected = {"right": "passed", "wrong": "failed"}
    lines += ["", "## Right files that are red or incomplete, and wrong ones that are not red", ""]
    for pair in judged:
        if verdicts[pair.name] != expected[pair.kind]:
            why = OTHER_FUNCTIONS.get(pair.what, "") if pair.kind == "right" else ""
            said = f" Another function: {why}" if why else ""
            lines.append(f"* {pair.name} ({pair.what}): {verdicts[pair.name]}.{said}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the files, judge them, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--most", type=int, default=2, help="files an operator and kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    random.seed(options.seed)
    ort.set_default_logger_severity(4)
    tests = [(case.name, case.model) for case in collect_testcases(None)]
    random.shuffle(tests)
    pairs = right_pairs(dict(tests), options.most) + wrong_pairs(dict(tests), options.most)
    with tempfile.TemporaryDirectory() as folder:
        verdicts = judge(pairs, Path(folder))
    options.page.write_text(page_of(pairs, verdicts))
    print(options.page.read_text())


if __name__ == "__main__":
    main()
