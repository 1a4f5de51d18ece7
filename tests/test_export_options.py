"""Export options: each gives what it promises, and the same function."""

from dataclasses import replace

import pytest

from onnx_conformance.checks.export_options import (
    check_external_data,
    check_folding,
    check_operators,
    check_static_batch,
    check_weight_inputs,
    pair,
)
from onnx_conformance.checks.function import check_error_budget
from onnx_conformance.core.case import Case, ExportOptions

TORCHSCRIPT = ("torch_torchscript", 14, "cpu")
KERAS = ("tf2onnx_function", "tf2onnx_saved_model", "keras_export")
DYNAMO = ("torch_dynamo", 18, "cpu")
STATIC = ExportOptions(dynamic_batch=False)
NO_WEIGHTS = ExportOptions(export_params=False)
BESIDE = ExportOptions(external_data=True)

KNOWN = [Case("simple_net", *TORCHSCRIPT)]
WEIGHT_INPUTS = [Case("simple_net", *route, NO_WEIGHTS) for route in (TORCHSCRIPT, DYNAMO)]
EXTERNAL_DATA = [Case("simple_net", *route, BESIDE) for route in (TORCHSCRIPT, DYNAMO)]
FOLDED = [Case("resnet18", *TORCHSCRIPT)]
UNFOLDED = [Case("resnet18", *TORCHSCRIPT, ExportOptions(constant_folding=False))]
STATIC_BATCH = [
    *(Case("simple_net", *route, STATIC) for route in (TORCHSCRIPT, DYNAMO)),
    *(Case("keras_sequential", route, 14, "cpu", STATIC) for route in KERAS),
    Case("keras_sequential", "tf2onnx_keras", 14, "cpu", replace(STATIC, functional=True)),
]


@pytest.mark.check("operators", cases=KNOWN)
def test_known_structure(subject, evidence):
    evidence(subject, check_operators(subject, "Gemm Relu Gemm"))


@pytest.mark.check("weight_inputs", cases=WEIGHT_INPUTS)
def test_weights_as_inputs(subject, evidence):
    evidence(subject, check_weight_inputs(subject))


@pytest.mark.check("external_data", cases=EXTERNAL_DATA)
def test_external_data(subject, evidence):
    evidence(subject, check_external_data(subject))


@pytest.mark.check("folding", cases=[*FOLDED, *UNFOLDED])
def test_folding(subject, evidence):
    evidence(subject, check_folding(subject))


@pytest.mark.check("static_batch", cases=STATIC_BATCH)
def test_static_batch(subject, evidence):
    evidence(subject, check_static_batch(subject))


@pytest.mark.check(
    "error_budget", families=("pair",), cases=[*EXTERNAL_DATA, *UNFOLDED, *STATIC_BATCH]
)
def test_same_function(subject, evidence):
    evidence(subject, check_error_budget(subject, pair(subject.seed)))
