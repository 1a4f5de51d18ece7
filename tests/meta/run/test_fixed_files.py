"""Files whose batch is fixed: each slot is judged, and what they fix is a note."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.meta.running import ORDINARY, run_suite

pytestmark = pytest.mark.slow


def perceptron(path, batch, *, slots="", producer=""):
    """x (batch, 6) to y (batch, 3).

    Args:
        slots: ``zero``: what the second sample gives is not written; ``swapped``: the two stand
            in each other's place; ``first``: both are the first.
    """
    weights = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
    stored = [numpy_helper.from_array(weights, "w")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Gelu", ["m"], ["g"])]
    if slots in ("swapped", "first"):
        order = [1, 0] if slots == "swapped" else [0, 0]
        stored.append(numpy_helper.from_array(np.array(order), "order"))
        nodes.append(helper.make_node("Gather", ["g", "order"], ["y"], axis=0))
    elif slots == "zero":
        stored.append(numpy_helper.from_array(np.array([[1.0], [0.0]], np.float32), "kept"))
        nodes.append(helper.make_node("Mul", ["g", "kept"], ["y"]))
    else:
        nodes.append(helper.make_node("Identity", ["g"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.producer_name = producer
    onnx.save(model, path)
    return path


def judged(folder, batch, *options):
    """The cases of files of fixed batch, against one of batch ``batch``."""
    before = perceptron(folder / "before.onnx", batch)
    artifact = folder / "given"
    artifact.mkdir()
    perceptron(artifact / "one.onnx", 1, producer="an optimiser")
    perceptron(artifact / "two.onnx", 2, producer="an optimiser")
    for slots in ("zero", "swapped", "first"):
        perceptron(artifact / f"{slots}.onnx", 2, slots=slots)
    if batch == 2:
        (artifact / "one.onnx").unlink()
    arguments = (f"--against={before}", f"--artifact={artifact}", "--provider=cpu", "--no-localize")
    return run_suite(folder, *ORDINARY, *arguments, *options)


def verdicts(run):
    cases = run.document["cases"]
    return {c["id"].split("-")[-2]: (c["verdict"], c["complete"]) for c in cases}


# Every check of the right files, and of all the checks of what a file's batch is.
CHOSEN = ("-k", "one-cpu or two-cpu or batch_invariance or batch_axis")


@pytest.fixture(scope="module", params=["batch", 2], ids=["open", "fixed"])
def run(request, tmp_path_factory):
    return request.param, judged(tmp_path_factory.mktemp("fixed"), request.param, *CHOSEN)


def test_right_files_pass_everything_and_wrong_slots_are_red(run):
    batch, ran = run
    right = {"one": ("passed", True)} if batch == "batch" else {}
    wrong = dict.fromkeys(("zero", "swapped", "first"), "failed")
    found = verdicts(ran)
    assert {name: kind for name, (kind, _) in found.items() if name in wrong} == wrong
    assert {n: f for n, f in found.items() if n not in wrong} == {**right, "two": ("passed", True)}


def test_slots_are_judged_by_the_batch_check(run):
    _, ran = run
    rows = [
        (case["id"].split("-")[-2], row["outcome"], row["reason"])
        for case in ran.document["cases"]
        for row in case["checks"]
        if row["name"] == "batch_invariance"
    ]
    by_name = {name: (outcome, reason) for name, outcome, reason in rows}
    assert by_name["two"][0] == "passed"
    assert "each of the 2 slots" in by_name["two"][1]
    assert {by_name[name][0] for name in ("zero", "swapped", "first")} == {"failed"}


def test_what_the_file_fixes_is_a_note_unless_dynamic_axes_are_expected(run, tmp_path):
    batch, ran = run
    if batch != "batch":
        assert "batch_axis" not in ran.outcomes()
        return
    notes = [r for c in ran.document["cases"] for r in c["checks"] if r["name"] == "batch_axis"]
    assert all(r["outcome"] == "passed" and "the file fixes" in r["reason"] for r in notes)
    strict = judged(tmp_path, "batch", "--expect-dynamic", "-k", "batch_axis")
    assert strict.outcomes()["batch_axis"] == {"failed"}
