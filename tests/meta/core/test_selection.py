"""Which cases a run holds, what they are called, and what it says when none is left."""

import re

import pytest

from onnx_conformance.catalog import models
from onnx_conformance.catalog.exporters import EXPORTERS, FURTHER_CASES, refuse_unserved
from onnx_conformance.catalog.models import MODELS, register_model, resolve_model
from onnx_conformance.catalog.providers import DEFAULT_PROVIDERS, PROVIDERS
from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.run.selection import Selection, select_cases

DEFAULT = select_cases(Selection())
USUAL = [model for model in MODELS.values() if not model.on_request]


def select(**axes):
    return select_cases(Selection(**axes))


# -- by default ------------------------------------------------------------------------------


def test_every_model_by_every_exporter_of_its_framework_at_both_opsets():
    plain = {
        (case.model, case.exporter, case.opset)
        for case in DEFAULT
        if case.options == ExportOptions()
    }
    for model in USUAL:
        routes = [route for route in EXPORTERS.values() if route.framework == model.framework]
        assert routes, model.name
        for route in routes:
            assert (model.name, route.name, route.conservative) in plain
            assert (model.name, route.name, route.newest) in plain


def test_a_model_that_computes_in_half_precision_is_judged_in_it(monkeypatch):
    x = TensorSpec("x", ("batch", 4))
    for computes in ("float32", "float16"):
        half = ModelSpec("half", "keras", (x,), (x,), "a:b", computes=computes)
        monkeypatch.setitem(MODELS._records, "half", half)
        [case] = select(models=("half",), exporters=("keras_export",), opsets=(18,))[:1]
        assert (case.precision, case.file_precision) == (computes, computes)
        assert case.by_model == (computes == "float16")
        [varied] = select(
            models=("half",), exporters=("keras_export",), opsets=(18,), variants=("fp16",)
        )[1:2]
        assert varied.precision == "float16"
        assert not varied.by_model


def test_a_model_without_its_outputs_is_refused_by_a_run_and_not_by_an_import(monkeypatch):
    monkeypatch.setattr(models, "_INCOMPLETE", set())

    class Net:
        """Of use elsewhere, too."""

    assert register_model("incomplete_net", inputs=[TensorSpec("x", ("batch", 4))])(Net) is Net
    for asked in ((), ("incomplete_net",)):
        with pytest.raises(UsageError, match="'incomplete_net' lacks framework, inputs or outputs"):
            select(models=asked)
    assert select(models=(USUAL[0].name,))


def test_every_form_stands_on_every_default_provider():
    forms = {case.artifact_id for case in DEFAULT}
    assert {case.id for case in DEFAULT} == {
        f"{form}-{provider}" for form in forms for provider in DEFAULT_PROVIDERS
    }


def test_further_cases_are_there():
    artifacts = {case.artifact_id for case in DEFAULT}
    for case in FURTHER_CASES.values():
        route = EXPORTERS[case.exporter]
        for opset in (route.conservative, route.newest) if case.opset is None else (case.opset,):
            assert f"{case.model}-{route.name}{case.options.suffix}-opset{opset}" in artifacts


def test_models_stand_together_in_the_order_of_registration():
    """A model is complete before the next begins; small ones come first."""
    assert list(dict.fromkeys(case.model for case in DEFAULT)) == [model.name for model in USUAL]
    starts = [i for i, case in enumerate(DEFAULT) if i == 0 or DEFAULT[i - 1].model != case.model]
    assert len(starts) == len(USUAL)


def test_default_cases_are_served_by_their_routes():
    for case in DEFAULT:
        refuse_unserved(case)


def test_registered_defaults_are_known():
    """Further cases name models and routes that go together."""
    for case in FURTHER_CASES.values():
        assert resolve_model(case.model).framework == EXPORTERS[case.exporter].framework
    for route in EXPORTERS.values():
        assert {route.conservative, route.newest} <= set(route.opsets)
    assert all(name in PROVIDERS for name in DEFAULT_PROVIDERS)


# -- ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (Case("resnet50", "torch_dynamo", 18, "cpu"), "resnet50-torch_dynamo-opset18-cpu"),
        (
            Case("keras_sequential", "tf2onnx_keras", 14, "cuda", ExportOptions(functional=True)),
            "keras_sequential-tf2onnx_keras+functional-opset14-cuda",
        ),
        (
            Case(
                "torchvision:alexnet",
                "torch_torchscript",
                9,
                "tensorrt",
                ExportOptions(False, False, False, True),
            ),
            "torchvision:alexnet-torch_torchscript"
            "+no_params+no_folding+static_batch+external_data-opset9-tensorrt",
        ),
    ],
)
def test_id_is_readable(case, text):
    assert case.id == text


@pytest.mark.parametrize(
    "text",
    [
        "simple_net-torch_torchscript-opset14-cpu",
        "simple_net-torch_dynamo-opset25-cpu",
        "resnet18-torch_dynamo-opset14-cuda",
        "keras_sequential-tf2onnx_keras+functional-opset18-tensorrt",
        "keras_mobilenet_v2-keras_export-opset18-cpu",
        "efficientnet_lite0-torch_torchscript-opset23-cpu",
    ],
)
def test_default_ids_as_they_are_typed(text):
    assert text in {case.id for case in DEFAULT}


def test_default_ids_are_unique_and_can_be_typed():
    ids = [case.id for case in DEFAULT]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[\w:+-]+", text) for text in ids)


# -- as asked for ----------------------------------------------------------------------------


def test_each_axis_narrows():
    found = select(
        models=("simple_net",), exporters=("torch_dynamo",), opsets=(20,), providers=("cpu",)
    )
    assert [case.id for case in found] == ["simple_net-torch_dynamo-opset20-cpu"]


def test_a_name_given_twice_counts_once():
    twice = {"models": ("simple_net",) * 2, "exporters": ("torch_dynamo",) * 2}
    found = select(**twice, opsets=(18, 18), providers=("cpu", "cpu"))
    assert [case.id for case in found] == ["simple_net-torch_dynamo-opset18-cpu"]


def test_route_that_lacks_the_opset_is_left_out_where_another_serves_it():
    found = select(models=("simple_net",), opsets=(25,), providers=("cpu",))
    assert [case.exporter for case in found] == ["torch_dynamo"]


def test_any_torchvision_classifier_can_be_named():
    found = select(models=("torchvision:alexnet",), opsets=(18,), providers=("cpu",))
    assert {case.model for case in found} == {"torchvision:alexnet"}
    assert resolve_model("torchvision:alexnet").arguments == ("alexnet",)


@pytest.mark.parametrize(
    ("axes", "full"), [({}, True), ({"models": ("simple_net",)}, False), ({"opsets": (18,)}, False)]
)
def test_only_an_unnarrowed_selection_is_full(axes, full):
    assert Selection(**axes).full is full


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (
            {"models": ("resnet19",)},
            "unknown model 'resnet19'; known: digits_cnn, ",
        ),
        (
            {"models": ("keras:resnet",)},
            "unknown model 'keras:resnet'; known: digits_cnn, ",
        ),
        (
            {"exporters": ("torch",)},
            "unknown exporter 'torch'; known: keras_export, tf2onnx_function, tf2onnx_keras, "
            "tf2onnx_saved_model, torch_dynamo, torch_torchscript",
        ),
        (
            {"providers": ("gpu",)},
            "unknown provider 'gpu'; known: coreml, coreml_fp16, cpu, cuda, cuda_tf32, ",
        ),
        (
            {"opsets": (99,), "exporters": ("torch_dynamo", "torch_torchscript")},
            "no chosen exporter supports opset 99; supported: torch_dynamo 9-25",
        ),
        (
            {"opsets": (25,), "models": ("keras_sequential",), "exporters": ("keras_export",)},
            "no chosen exporter supports opset 25; supported: keras_export 9-18",
        ),
        (
            {"opsets": (25,), "models": ("keras_sequential",)},
            "no chosen exporter supports opset 25; supported: tf2onnx_keras 9-18, ",
        ),
        (
            {"models": ("simple_net", "resnet18"), "exporters": ("keras_export",)},
            "no case is left: keras_export cannot export simple_net, resnet18 (torch models need ",
        ),
        (
            {"models": ("keras_sequential",), "exporters": ("torch_dynamo",)},
            "no case is left: torch_dynamo cannot export keras_sequential",
        ),
    ],
)
def test_what_cannot_be_served_is_reported_in_one_line(axes, message):
    with pytest.raises(UsageError) as caught:
        select(**axes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            Case("simple_net", "torch_dynamo", 26, "cpu"),
            "exporter torch_dynamo supports opsets 9 to 25, not 26",
        ),
        (
            Case("keras_sequential", "keras_export", 18, "cpu", ExportOptions(external_data=True)),
            "exporter keras_export does not support the option 'external_data'",
        ),
    ],
)
def test_case_that_its_route_does_not_serve_is_refused(case, message):
    with pytest.raises(UsageError, match=message):
        refuse_unserved(case)
