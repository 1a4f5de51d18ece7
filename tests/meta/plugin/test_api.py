"""``certify()`` for notebooks and scripts: the same checks, and no pass without evidence.

Live models are certified in scripts of their own, because pytest's process imports no framework.
"""

import json
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings

from onnx_conformance.api import CaseVerdict, Certification, certify
from onnx_conformance.core.case import Case
from onnx_conformance.core.compute_modes import REPLICAS
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.results import CheckResult
from onnx_conformance.run.worker_queue import WorkerQueue
from tests.meta.running import ROOT, run_suite

pytestmark = pytest.mark.slow

CASE = Case("simple_net", "torch_dynamo", 18, "cpu")
ENOUGH = 6  # calls of a worker: sessions opened, all inputs, repeats, refusals, as it is written
GOOD, BAD = (
    CheckResult("checker", "passed", "fine", compared=1),
    CheckResult("opset", "failed", "another", compared=1),
)


def script(tmp_path, body):
    """What a script prints as JSON."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(body))
    ran = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


TORCH = """
import copy, json, torch
from onnx_conformance import TensorSpec, certify
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 3))
spec = TensorSpec("x", ("batch", 8))
found = certify(net, spec, exporters=["torch_torchscript"], opsets=[17])
unharmed = next(net.parameters()).dtype == torch.float32
other = copy.deepcopy(net)
other[2].weight.data[0, 0] *= -1
for name, model in (("wrong", other), ("right", net)):
    torch.onnx.export(model.eval(), (torch.ones(2, 8),), f"{name}.onnx", dynamo=False,
                      input_names=["x"], output_names=["logits"],
                      dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}})
examples = [{"x": torch.zeros(2, 8)}, {"x": torch.zeros(3, 8)}]
both = certify(net, examples, artifacts=["wrong.onnx", "right.onnx"])
verdicts = [case.verdict for case in both.cases]
try:
    both.require()
except AssertionError as error:
    print(json.dumps([found.proved, str(found), unharmed, both.proved, verdicts, str(error)]))
"""
KERAS = """
import json, keras
from onnx_conformance import certify
keras.utils.set_random_seed(0)
x = keras.Input((8,), name="x")
y = keras.layers.Dense(3)(keras.layers.BatchNormalization()(keras.layers.Dense(8)(x)))
net = keras.Model(x, y)
found = certify(net, exporters=["tf2onnx_function"], opsets=[18])
print(json.dumps([found.proved, str(found), True]))
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """What the scripts of live models print, by framework."""
    return {
        name: script(tmp_path_factory.mktemp(name), body)
        for name, body in (("torch", TORCH), ("keras", KERAS))
    }


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_live_model_is_proved(live, framework):
    proved, text, unharmed, *_ = live[framework]
    assert proved, text
    assert unharmed


def test_a_wrong_artifact_is_red_and_require_raises(live):
    """Beside a right one, whose output is called as nobody asked."""
    *_, proved, verdicts, raised = live["torch"]
    assert not proved
    assert verdicts == ["failed", "passed"], raised
    assert 'understood as inputs=[TensorSpec("x", ("batch_size", 8))]' in raised
    assert "RED" in raised
    assert "differs from native torch" in raised


@pytest.fixture
def calls(monkeypatch):
    """How often workers are called, by stage and compute mode."""
    made, call = Counter(), WorkerQueue.call

    def counted(queue, stage, what, method, **arguments):
        made[stage, arguments.get("mode", "")] += 1
        return call(queue, stage, what, method, **arguments)

    monkeypatch.setattr(WorkerQueue, "call", counted)
    return made


@pytest.fixture
def many_examples():
    """A profile of the caller's own, such as Hypothesis' default one: 100 examples."""
    before = settings.get_current_profile_name()
    settings.register_profile("of the caller", max_examples=100)
    settings.load_profile("of the caller")
    yield
    settings.load_profile(before)


@pytest.mark.usefixtures("many_examples")
def test_the_same_result_as_a_run(tmp_path, calls):
    """Every check of a named model, with the same evidence, and each compute mode made once."""
    cache = tmp_path / "cache"
    chosen = {"exporters": ["torch_torchscript"], "opsets": [14]}
    found = certify("simple_net", **chosen, cache_dir=cache)
    parts = [f"tests/test_{part}.py" for part in ("structure", "function", "robustness")]
    options = ("--model=simple_net", "--exporter=torch_torchscript", "--opset=14", "--provider=cpu")
    run = run_suite(tmp_path, *parts, *options)
    (case,) = run.document["cases"]
    assert found.proved
    assert found.cases[0].compared == sum(row["compared"] for row in case["checks"])
    assert found.cases[0].score == pytest.approx(case["worst_score"])
    # once for the pinned and drawn inputs, and once for the sweeps
    assert {calls["oracle", mode] for mode in ("float64", *REPLICAS)} == {2}
    assert calls["runtime", ""] <= ENOUGH
    assert calls["native", "float32"] <= ENOUGH


TWICE = """
import json, onnx
from pathlib import Path
from onnx_conformance import certify

def write(folder, scale):
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "m.py").write_text(
        "from onnx_conformance import TensorSpec, register_model\\n"
        '@register_model("net", inputs=[TensorSpec("x", ("batch", 4))])\\n'
        f"def net(): return lambda x: x * x.dtype.type({scale})\\n"
    )

def served(folder):
    return certify(f"{folder}/m.py:net", artifacts="served.onnx", cache_dir=Path("cache"))

write("a", 1.5), write("b", 2.0)
onnx.save(onnx.parser.parse_model('''
    <ir_version: 10, opset_import: ["" : 18]>
    served (float[batch, 4] x) => (float[batch, 4] output)
    { scale = Constant <value_float: float = 1.5> ()
      output = Mul (x, scale) }'''), "served.onnx")
found = [served("a"), served("b")]
write("a", 2.0)
found.append(served("a"))
print(json.dumps([[one.proved for one in found], [str(one) for one in found]]))
"""


def test_another_file_and_an_edited_one_are_looked_at_anew(tmp_path):
    proved, shown = script(tmp_path, TWICE)
    assert proved == [True, False, False], shown


def test_an_absent_provider_is_no_proof():
    found = certify("simple_net", exporters=["torch_dynamo"], opsets=[18], providers=["cuda"])
    assert not found.proved
    assert "cuda" in str(found)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"model": "no_such"}, "unknown model 'no_such'"),
        ({"model": "simple_net", "exporters": ["nope"]}, "unknown exporter 'nope'"),
        ({"model": "simple_net", "providers": ["nope"]}, "unknown provider 'nope'"),
        ({"model": "simple_net", "opsets": [99]}, "supports opset 99"),
        ({"model": "simple_net", "spec": {}}, "a named model has its own spec"),
        ({"model": 3}, "return a torch.nn.Module"),
        ({"model": len, "spec": "x"}, "a spec is a TensorSpec, several of them, or example arrays"),
        ({"model": "simple_net", "examples": 0}, "draw at least 1 recipe"),
        ({"model": "simple_net", "opsets": 99}, "supports opset 99"),
        ({"model": "simple_net", "exporters": "nope"}, "unknown exporter 'nope'"),
    ],
)
def test_bad_input_is_reported(asked, message):
    with pytest.raises(UsageError, match=message):
        certify(**asked)


def test_a_folder_of_parts_is_left_to_the_command(tmp_path):
    for label in ("encoder_model", "decoder_model"):
        (tmp_path / f"{label}.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match="are parts of it, which are judged by .* run --model hf:"):
        certify("hf:checkpoint", artifacts=tmp_path)


def test_bad_input_is_reported_at_the_call_and_by_its_argument():
    """Not by a run's option, and without the frames of the package."""
    with pytest.raises(UsageError, match="^artifacts= no.onnx: no such file") as raised:
        certify("simple_net", artifacts="no.onnx")
    shown = [entry for entry in raised.traceback if not entry.ishidden(raised)]
    assert [entry.path.name for entry in shown] == ["test_api.py"]
    assert len(raised.traceback) == 2
    assert raised.value.__suppress_context__


def test_no_case_is_no_proof():
    assert not Certification(()).proved


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ((GOOD,), "passed"),
        ((GOOD, BAD), "failed"),
        ((GOOD, CheckResult("top5", "skipped", "noise")), "skipped"),
        ((), "skipped"),
    ],
)
def test_verdicts(results, verdict):
    one = CaseVerdict(CASE, results)
    assert one.verdict == verdict
    assert Certification((one,)).proved == (verdict == "passed")


def test_a_red_case_tells_why():
    assert "opset: another" in str(CaseVerdict(CASE, (GOOD, BAD)))


def measured(score):
    return CheckResult(
        "error_budget", "failed", "differs", compared=1, score=score, budget=4.0,
        inputs=f"normal(seed={score:g})", details=(f"error {score:g}x",),
    )  # fmt: skip


def test_failures_of_one_check_are_one_block_and_edge_findings_come_last():
    edge = replace(CheckResult("nonfinite", "failed", "NaN lost"), outcome="edge")
    text = str(CaseVerdict(CASE, (edge, BAD, measured(82.0), measured(500.0), measured(410.0))))
    assert text.splitlines()[1:] == [
        "  opset: another",
        "  error_budget: differs",
        "    error 500x",
        "    inputs: normal(seed=500)",
        "    and 2 more sets of inputs (82x to 410x)",
        "  ◇ edge finding in nonfinite: NaN lost",
    ]


def test_the_reasons_of_skipped_checks_are_all_told():
    text = str(
        CaseVerdict(
            CASE,
            (CheckResult("top5", "skipped", "noise"), CheckResult("top5", "skipped", "no logits")),
        )
    )
    assert "noise" in text
    assert "no logits" in text


def test_require_begins_with_the_case_and_the_check_that_decides():
    """Which is all that pytest's short summary shows."""
    weights = CheckResult(
        "initializers", "failed", "1 of 4 weights", details=("'4.weight' differs",), compared=1
    )
    lacking = CaseVerdict(replace(CASE, opset=17), (CheckResult("top5", "skipped", "noise"),))
    red = CaseVerdict(CASE, (CheckResult("top5", "skipped", "noise"), weights, measured(82.0)))
    with pytest.raises(AssertionError) as raised:
        Certification((lacking, red)).require()
    first, *_ = str(raised.value).splitlines()
    assert first == f"{CASE.id}: initializers: 1 of 4 weights; '4.weight' differs"
    assert "exporters=" in str(raised.value)
    external = CaseVerdict(CASE.external("m.onnx", "m"), (weights,))
    with pytest.raises(AssertionError, match="which checkpoint it came from") as raised:
        Certification((external,)).require()
    assert "exporters=" not in str(raised.value)
