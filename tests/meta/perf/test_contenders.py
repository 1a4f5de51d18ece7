"""Who is timed: labels that stay the same, the newest opset of each route, forms of a GPU."""

from types import SimpleNamespace

import pytest

from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.perf.latency.contenders import (
    Contender,
    native_contenders,
    runtime_contenders,
    timed_cases,
)
from onnx_conformance.perf.latency.row_requests import requested_rows
from onnx_conformance.perf.latency.timed_call import (
    FIRST_TOKEN,
    NEXT_TOKEN,
    phases_of,
    timed_inputs,
)
from onnx_conformance.perf.latency.timing_rows import group_of
from onnx_conformance.perf.options import TimingOptions
from onnx_conformance.run.selection import Selection, select_cases
from tests.meta.core.test_carries import decoder
from tests.meta.inputs.test_loops import STREAM

DYNAMO = Case("resnet18", "torch_dynamo", 18, "cpu")


def of(model="resnet18", exporter="torch_dynamo", opset=18, provider="cpu", **options):
    return Case(model, exporter, opset, provider, ExportOptions(**options))


@pytest.mark.parametrize(
    ("contender", "label"),
    [
        (Contender("resnet18", "eager"), "native-eager"),
        (Contender("resnet18", "channels_last"), "native-channels_last"),
        (Contender("resnet18", "plain", DYNAMO), "torch_dynamo-opset18-cpu"),
        (Contender("resnet18", "copies", of(provider="cuda")), "torch_dynamo-opset18-cuda-copies"),
        (
            Contender("resnet18", "plain", of(external_data=True)),
            "torch_dynamo+external_data-opset18-cpu",
        ),
        (Contender("d", "eager", call=NEXT_TOKEN), "native-eager-next_token"),
    ],
)
def test_labels_are_stable(contender, label):
    assert contender.label == label


def test_labels_of_a_model_are_its_own():
    cases = timed_cases(tuple(select_cases(Selection(models=("resnet18",)))), ())
    labels = [
        r.label for r in [*native_contenders("resnet18", "torch", ()), *runtime_contenders(cases)]
    ]
    assert len(labels) == len(set(labels)) >= 4


def test_eager_comes_first_and_costly_forms_on_request():
    forms = [contender.form for contender in native_contenders("resnet18", "torch", ())]
    assert forms == ["eager", "channels_last"]
    forms = [contender.form for contender in native_contenders("resnet18", "torch", ("compile",))]
    assert forms == ["eager", "compile"]
    forms = [contender.form for contender in native_contenders("keras_x", "keras", ())]
    assert forms == ["eager", "function", "predict_on_batch"]
    forms = [contender.form for contender in native_contenders("keras_x", "keras", ("compile",))]
    assert forms == ["eager"]  # a form of the other framework


def test_every_route_at_its_newest_opset():
    cases = (of(opset=14), of(opset=23), of(exporter="torch_torchscript", opset=9))
    assert timed_cases(cases, ()) == [cases[1], cases[2]]
    assert timed_cases(cases[::-1], ()) == [cases[2], cases[1]]


def test_models_and_providers_are_apart():
    cases = (of(), of(provider="cuda"), of(model="resnet50"))
    assert timed_cases(cases, ()) == list(cases)


def test_the_plain_export_is_timed_before_a_newer_one_with_options():
    plain, variant = of(opset=14), of(opset=23, external_data=True)
    assert timed_cases((variant, plain), ()) == [plain]
    assert timed_cases((variant,), ()) == [variant]


def test_opsets_that_were_asked_for_are_all_timed():
    cases = (of(opset=14), of(opset=23))
    assert timed_cases(cases, (14, 23)) == list(cases)


def test_external_artifacts_are_all_timed():
    artifacts = tuple(
        Case("resnet18", "", None, "cpu").external(f"/{name}.onnx", name) for name in "ab"
    )
    assert timed_cases(artifacts, ()) == list(artifacts)


def test_on_a_gpu_copies_stand_apart():
    found = runtime_contenders([DYNAMO, of(provider="cuda")])
    assert [(contender.case.provider, contender.form) for contender in found] == [
        ("cpu", "plain"),
        ("cuda", "plain"),
        ("cuda", "io_binding"),
        ("cuda", "copies"),
    ]


@pytest.mark.parametrize(
    ("provider", "precision", "form"),
    [
        ("cpu", "float16", "eager"),
        ("cuda", "float32", "cuda"),
        ("cuda_tf32", "tf32", "cuda_tf32"),
        ("tensorrt_fp16", "float16", "cuda_float16"),
        ("cuda", "int8", "cuda"),
    ],
)
def test_a_case_is_compared_with_native_in_its_class_on_its_device(provider, precision, form):
    case = Case("resnet18", "torch_dynamo", 18, provider, precision=precision)
    over = Contender("resnet18", "plain", case).compared_with
    assert over == Contender("resnet18", form)
    assert over in native_contenders("resnet18", "torch", (), [case])
    assert (over.judged_as is None) == (form == "eager")


def test_native_on_cuda_is_judged_by_its_class():
    assert Contender("resnet18", "cuda_tf32").judged_as.precision == "tf32"
    assert Contender("resnet18", "cuda_tf32").compared_with == Contender("resnet18", "cuda")


def made_run(frameworks=()):
    selection = Selection(models=("simple_net", "keras_sequential"), opsets=(14,))
    return SimpleNamespace(
        cases=tuple(select_cases(selection)),
        selection=selection,
        frameworks=frameworks,
        timing=TimingOptions(wanted=True, batch_sizes=(1, 4)),
    )


def test_ids_of_rows_are_unique_and_each_batch_size_has_its_contenders():
    rows = list(requested_rows(made_run()))
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids))
    assert "simple_net-b4-native-eager" in ids
    assert "simple_net-b1-torch_torchscript-opset14-cpu" in ids
    for row in rows:
        assert row.contender in row.contenders
        assert {contender.model for contender in row.contenders} == {row.contender.model}


def test_a_framework_that_is_left_out_is_not_timed():
    rows = list(requested_rows(made_run(frameworks=("keras",))))
    assert {row.contender.model for row in rows} == {"keras_sequential"}


def test_a_model_with_a_past_is_timed_at_its_first_token_and_at_one_more():
    assert phases_of(decoder()) == (FIRST_TOKEN, NEXT_TOKEN)
    shapes = {
        call: [array.shape for array in timed_inputs(decoder(), 0, 2, call).values()]
        for call in phases_of(decoder())
    }
    assert shapes == {
        FIRST_TOKEN: [(2, 3), (2, 2, 0, 4)],  # a prompt beside an empty past
        NEXT_TOKEN: [(2, 1), (2, 2, 8, 4)],  # one token beside the longest
    }
    assert group_of("d", 2, NEXT_TOKEN) == "d batch 2, next token"
    one = Contender("d", "plain", of("d"), NEXT_TOKEN)
    assert one.compared_with == Contender("d", "eager", call=NEXT_TOKEN)


def test_others_are_timed_as_they_are():
    assert phases_of(STREAM) == ()
