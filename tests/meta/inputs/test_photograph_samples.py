"""Photographs: samples made two ways, a squashed one caught, labels in place, bad files named."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.checks.photographs import check_photographs, leading_classes
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.inputs.photographs import (
    BUNDLED_PHOTOGRAPHS,
    imagenet_labels,
    levels_apart,
    normalised,
    photograph_inputs,
    photographs,
    pillow_sample,
    read_photograph,
    takes_photographs,
)
from onnx_conformance.run.subject import Answer

MODEL = resolve_model("efficientnet_lite0")
HOW = MODEL.preprocessing
CHELSEA = photographs()[0]


def squashed(photograph):
    """The trap: resized to the crop at once, whatever the aspect."""
    size = (HOW.crop, HOW.crop)
    image = read_photograph(photograph.path).resize(size, Image.Resampling.BILINEAR)
    return normalised(np.asarray(image), HOW)


class Pretender:
    """A subject without workers, whose native and runtime say ``logits``, ``(1000,)``."""

    case = Case("efficientnet_lite0", "torch_torchscript", 14, "cpu")
    model = MODEL

    def __init__(self, tolerances, logits, sample=None):
        self.tolerances = tolerances
        self._logits, self._sample = logits[np.newaxis].astype(np.float32), sample

    @property
    def session(self):
        return type("Session", (), {"placement": {}})()

    def preprocess(self, photograph):
        return pillow_sample(photograph, HOW) if self._sample is None else self._sample

    def reference(self, inputs):
        native = {"output": self._logits}
        return Reference({"output": self._logits.astype(np.float64)}, native, (native,) * 3)

    def run(self, inputs, repeat=0):
        return Answer({"output": self._logits})


@pytest.fixture
def tolerances(pytestconfig):
    return load_tolerances(pytestconfig.rootpath / "tolerances.yaml")


@pytest.fixture
def sure_of():
    """Logits that put a label first."""

    def logits(label):
        values = np.linspace(0.0, 1.0, 1000)
        values[imagenet_labels().index(label)] = 9.0
        return values

    return logits


def test_right_answer_is_green_and_tells_the_leading_five(tolerances, sure_of):
    result = check_photographs(Pretender(tolerances, sure_of("tiger cat")), CHELSEA)
    assert result.passed, result.reason
    assert result.reason.startswith("tiger cat ")
    assert len(result.statistics["native_top5"]) == len(result.statistics["runtime_top5"]) == 5


@pytest.mark.parametrize("photograph", photographs(), ids=lambda photograph: photograph.name)
def test_squashed_resize_is_red(tolerances, sure_of, photograph):
    subject = Pretender(tolerances, sure_of(photograph.answers[0]), squashed(photograph))
    result = check_photographs(subject, photograph)
    assert result.outcome == "failed"
    assert "8-bit levels" in result.reason


def test_swapped_colours_are_red(tolerances, sure_of):
    swapped = pillow_sample(CHELSEA.path, HOW)[::-1]
    result = check_photographs(Pretender(tolerances, sure_of("tiger cat"), swapped), CHELSEA)
    assert "8-bit levels" in result.reason


def test_both_sides_wrong_about_a_known_photograph_is_red(tolerances, sure_of):
    result = check_photographs(Pretender(tolerances, sure_of("espresso")), CHELSEA)
    assert result.outcome == "failed"
    assert "none of tiger cat, Egyptian cat, tabby is among espresso" in result.reason


def test_sample_has_the_model_s_layout():
    last = replace(MODEL, inputs=(TensorSpec("input", ("batch_size", 224, 224, 3)),))
    first = photograph_inputs(MODEL, HOW, CHELSEA.path)["input"]
    inputs = photograph_inputs(last, HOW, CHELSEA.path)["input"]
    assert first.shape == (1, 3, 224, 224)
    assert inputs.shape == (1, 224, 224, 3)
    assert np.array_equal(inputs.transpose(0, 3, 1, 2), first)


def test_one_level_counts_as_one():
    grey = np.full((HOW.crop, HOW.crop, 3), 100, np.uint8)
    apart = levels_apart(normalised(grey, HOW), normalised(grey + np.uint8(1), HOW), HOW)
    assert apart == pytest.approx(1.0, abs=1e-4)


def test_labels_are_imagenet_s():
    labels = imagenet_labels()
    assert len(labels) == len(set(labels)) == 1000
    assert labels[282] == "tiger cat"
    assert {answer for answers in BUNDLED_PHOTOGRAPHS.values() for answer in answers} <= set(labels)


def test_percentages_of_logits_and_of_probabilities():
    row = np.full(1000, -np.inf)
    row[[282, 285]] = np.log([3.0, 1.0])
    wanted = [("tiger cat", pytest.approx(75.0)), ("Egyptian cat", pytest.approx(25.0))]
    assert list(leading_classes(row, imagenet_labels(), "linear")[:2]) == wanted
    assert list(leading_classes(np.exp(row) / 4, imagenet_labels(), "probabilities")[:2]) == wanted


def test_only_trained_models_take_photographs():
    assert takes_photographs(MODEL, "calibrated")
    assert not takes_photographs(resolve_model("simple_net"), "pretrained")
    assert not takes_photographs(replace(MODEL, trained=False), "calibrated")
    assert takes_photographs(replace(MODEL, trained=False), "pretrained")


def test_user_images_replace_the_bundled_ones(tmp_path):
    (photograph,) = photographs([tmp_path / "cat.png"])
    assert (photograph.name, photograph.answers) == ("cat.png", ())


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n broken", None])
def test_unreadable_image_is_named_in_one_line(tmp_path, content):
    path = tmp_path / "holiday.jpg"
    if content is None:  # cut off in the middle
        whole = CHELSEA.path.read_bytes()
        content = whole[: len(whole) // 2]
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"Pillow cannot read .*holiday\.jpg") as error:
        read_photograph(path)
    assert "\n" not in str(error.value)


def test_upright_and_without_alpha(tmp_path):
    image = Image.new("RGBA", (30, 20), (10, 20, 30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    path = tmp_path / "phone.png"
    image.save(path, exif=exif)
    read = read_photograph(path)
    assert (read.size, read.mode) == ((20, 30), "RGB")
