"""What the API and the certificates run is what pytest collects."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.checks.registry import required_checks
from onnx_conformance.core.case import Case
from onnx_conformance.core.domains import Integers
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.report.document import required_tests
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow

CASE = "simple_net-torch_torchscript-opset14-cpu"
TESTS = {  # the check of a test whose name is not the check's
    "pinned_inputs": "error_budget",
    "drawn_inputs": "error_budget",
}
TOKENS = ModelSpec(
    "tokens",
    "torch",
    (TensorSpec("ids", ("batch", "sequence"), "int64", domain=Integers(0, 9)),),
    (TensorSpec("out", ("batch", "sequence", 3)),),
    "nowhere:nothing",
)


ORDINARY = Case("simple_net", "torch_torchscript", 14, "cpu")


def names(model):
    return Counter(one.check.name for one in required_checks(model, ORDINARY, 0, drawn=False))


def test_pytest_collects_the_same():
    parts = ("structure", "function", "robustness")
    arguments = [*(f"tests/test_{part}.py" for part in parts), "--collect-only", "-q"]
    arguments += ["--model=simple_net"]
    arguments += ["--exporter=torch_torchscript", "--opset=14", "--provider=cpu"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = re.findall(rf"::test_(\w+)\[(?:\w+-)?{CASE}[\]-]", ran.stdout)
    collected = Counter(TESTS.get(name, name) for name in found)
    collected["error_budget"] -= 1  # the drawn inputs are one test
    assert collected == names(resolve_model("simple_net"))


@pytest.mark.parametrize("model", [*MODELS])
def test_a_case_requires_no_less(model):
    case = Case(model, "torch_torchscript", 14, "cpu")
    wanted = required_tests(case, ordinary=True)
    wanted["error_budget"] -= 1
    assert wanted == names(resolve_model(model))


def test_what_a_model_cannot_be_asked_it_does_not_owe():
    left_out = names(resolve_model("simple_net")) - names(TOKENS)
    assert set(left_out) == {"nonfinite", "denormals", "top5", "refusal"}
    assert left_out["refusal"] == 1  # no axis has one size that could be wrong


def test_drawn_inputs_come_on_top():
    model = resolve_model("simple_net")
    assert len(list(required_checks(model, ORDINARY, 0, drawn=True))) > sum(names(model).values())
