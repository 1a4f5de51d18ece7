"""``make compare``: workers that agree are told so, those that do not are red."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.cli import compare, image_latency, predictions
from onnx_conformance.cli.context import read_run
from onnx_conformance.cli.image_latency import Latency, PhotographTimings, ranked
from onnx_conformance.cli.main import main
from onnx_conformance.cli.predictions import (
    ModelPredictions,
    Prediction,
    counterpart,
    label_warning,
    with_preprocessing,
)
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.photographs import photographs
from onnx_conformance.perf.latency.interleave import Interleaved

pytestmark = pytest.mark.slow

TINY = "tiny_classifier"
PHOTOGRAPH = photographs()[0].path
TOP = (("tiger cat", 60.0), ("lynx", 20.0))


def tiny_classifier(*, pretrained):
    """A classifier of 32 x 32 pixels; runs in torch's worker."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 1000))


@pytest.fixture
def tiny(monkeypatch):
    """The classifier, registered for a test; a short race."""
    spec = ModelSpec(
        name=TINY,
        framework="torch",
        inputs=(TensorSpec("input", ("batch_size", 3, 32, 32)),),
        outputs=(TensorSpec("output", ("batch_size", 1000)),),
        builder="tests.meta.cli.test_tools_compare:tiny_classifier",
    )
    monkeypatch.setattr(MODELS, "_records", {**MODELS._records, TINY: spec})
    monkeypatch.setattr(image_latency, "ROUND_SECONDS", 0.1)
    monkeypatch.setattr(image_latency, "WARM_SECONDS", 0.1)
    return spec


def run(cache, target, *arguments):
    options = [f"--model={TINY}", "--provider=cpu", "--opset=14", f"--html={target}", cache]
    return main(["compare", str(PHOTOGRAPH), *options, *arguments])


def flip(path, target):
    """The file with its largest weight negated."""
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda each: np.prod(each.dims))
    tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, target)


@pytest.mark.usefixtures("tiny")
def test_a_right_export_agrees_and_a_wrong_file_does_not(cache, tmp_path, capsys):
    target = tmp_path / "compare.html"
    assert run(cache, target) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{TINY}: the labels mean nothing")
    assert "✓ ONNX Runtime, cpu agrees with PyTorch" in output
    assert "fastest: " in output
    text = target.read_text()
    assert "They agree" in text
    assert "data:image/jpeg;base64," in text
    assert "the labels mean nothing" in text

    out = tmp_path / "tiny.onnx"
    assert main(["convert", TINY, "--opset=14", "--no-validate", f"--out={out}", cache]) == 0
    flip(out, tmp_path / "wrong.onnx")
    assert run(cache, target, f"--artifact={tmp_path / 'wrong.onnx'}") == 1
    output = capsys.readouterr().out
    assert "✗ ONNX Runtime, cpu DISAGREES with PyTorch" in output
    assert "They do not agree" in target.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["README.md"], "Pillow cannot read"),
        (["absent.jpg"], "there is no file"),
        ([str(PHOTOGRAPH), "--model=nonsense"], "unknown model 'nonsense'"),
        ([str(PHOTOGRAPH), "--model=simple_net"], "does not take photographs"),
        ([str(PHOTOGRAPH), "--artifact=absent.onnx"], "no such file"),
        ([str(PHOTOGRAPH), "--provider=none"], "unknown provider 'none'"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, capsys):
    options = [f"--cache-dir={tmp_path / 'cache'}", f"--html={tmp_path / 'compare.html'}"]
    assert main(["compare", *arguments, *options]) == 2
    output = capsys.readouterr().err
    assert message in output
    assert output.count("\n") == 1


@pytest.mark.usefixtures("tiny")
def test_an_unreadable_artifact_is_one_line(cache, tmp_path, capsys):
    (tmp_path / "no.onnx").write_bytes(b"no ONNX file")
    assert run(cache, tmp_path / "page.html", f"--artifact={tmp_path / 'no.onnx'}") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "weights", "trained"),
    [
        ("efficientnet_lite0", "calibrated", True),
        ("resnet18", "calibrated", False),
        ("resnet18", "pretrained", True),
    ],
)
def test_untrained_weights_are_reported(name, weights, trained):
    assert (label_warning(resolve_model(name), weights) == "") is trained


def test_weights_of_ones_own_need_imagenets_classes(tiny):
    assert "are not trained" in label_warning(tiny, "calibrated")
    own = replace(tiny, trained=True)
    assert "only if its classes are ImageNet's" in label_warning(own, "calibrated")
    assert label_warning(replace(own, labels=True), "calibrated") == ""


def test_an_assumed_preprocessing_is_the_frameworks_usual_one():
    torch, keras = (
        with_preprocessing(resolve_model(n)).preprocessing
        for n in ("resnet18", "keras_mobilenet_v2")
    )
    assert (torch.resize, torch.crop, torch.mean[0]) == (256, 224, 0.485)
    assert (keras.resize, keras.crop, keras.mean[0]) == (256, 224, 0.5)
    declared = resolve_model("efficientnet_lite0")
    assert with_preprocessing(declared) is declared


def test_other_classes_than_imagenets_are_refused(tiny):
    few = replace(tiny, outputs=(TensorSpec("output", ("batch_size", 10)),))
    with pytest.raises(UsageError, match="ImageNet's 1000 classes"):
        with_preprocessing(few)


def test_the_other_frameworks_model_is_found():
    assert counterpart("mobilenet_v2") == "keras_mobilenet_v2"
    assert counterpart("keras_mobilenet_v2") == "mobilenet_v2"
    assert counterpart("resnet18") is None


def scene(verdict):
    sights_of = (Prediction("PyTorch", TOP), Prediction("ONNX Runtime, cpu", TOP, verdict))
    return ModelPredictions(resolve_model("efficientnet_lite0"), sights_of, assumed=False)


GOOD = CheckResult("photographs", "passed", "tiger cat", compared=1000, score=0.5, budget=4.0)
BAD = CheckResult("photographs", "failed", "output <b>differs</b>")


def test_no_verdict_is_no_agreement():
    assert scene(GOOD).agree
    assert not scene(BAD).agree
    assert not ModelPredictions(
        resolve_model("resnet18"), (Prediction("PyTorch", TOP),), assumed=False
    ).agree


@pytest.mark.parametrize(
    ("verdict", "headline"), [(GOOD, "They agree"), (BAD, "They do not agree")]
)
def test_the_page_says_whether_they_agree(verdict, headline):
    race = PhotographTimings((Latency("PyTorch, eager", 0.02, 0.019, 0.021, None),), ())
    text = compare.render(
        Path(PHOTOGRAPH), [scene(verdict)], race, read_run(["--model=simple_net"])
    )
    assert headline in text
    assert "tiger cat" in text
    assert "<b>differs</b>" not in text  # escaped
    assert 'src="http' not in text  # nothing is fetched


def interleaved(**seconds):
    rounds = {who: np.array(times) for who, times in seconds.items()}
    return Interleaved(rounds, rounds)


def test_the_fastest_comes_first_with_what_the_others_take():
    drift = np.linspace(1.0, 1.5, 12)
    noise = np.array([1.0, 1.01, 0.99, 1.02, 0.98, 1.0] * 2)
    found = ranked(interleaved(slow=2 * drift * noise, fast=drift))
    assert [each.who for each in found] == ["fast", "slow"]
    assert found[0].behind is None
    assert found[1].behind.value == pytest.approx(2, rel=0.03)
    assert found[0].low <= found[0].median <= found[0].high
    assert PhotographTimings(found, ()).winner.startswith("fastest: fast, 2.0")


def test_a_difference_that_is_not_shown_is_said():
    noise = np.array([1.0, 1.1, 0.9, 1.2, 0.8, 1.0, 1.05, 0.95, 1.15, 0.85])
    found = ranked(interleaved(one=noise, other=noise[::-1]))
    assert "not shown to differ" in PhotographTimings(found, ()).winner


def test_nothing_timed_is_said():
    assert PhotographTimings((), ("PyTorch: absent",)).winner == "nothing was timed"


def test_labels_are_kept_in_order():
    spec = resolve_model("efficientnet_lite0")
    row = np.zeros((1, 1000), np.float32)
    row[0, 282] = 9
    assert predictions._top(spec, {"output": row})[0][0] == "tiger cat"
    assert json.dumps(predictions._top(spec, {"output": row}))  # plain data
