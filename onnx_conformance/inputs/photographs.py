"""Photographs for trained classifiers: files, labels, and preprocessing by Pillow.

Preprocessing by torchvision runs in torch's worker
(:mod:`onnx_conformance.workers.torch.zoo`); nothing here imports a framework.

Views are crops, flips and other light. What is on them is not labelled view by view, so what native
names is the right answer; bounds hold over draws of views of these photographs, which are alike.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.extras import absent, optional
from onnx_conformance.core.spec import ModelSpec, Preprocessing
from onnx_conformance.inputs.families import InputPlan, input_family
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.tasks import Samples, register_task, samples_of

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]
Sample = NDArray[np.float32]
EXTRA = "photographs"
LEVELS = 255  # of an 8-bit channel, from 0

# scikit-image's photographs, and labels of which one at least belongs to the leading five
BUNDLED_PHOTOGRAPHS = {
    "chelsea.png": ("tiger cat", "Egyptian cat", "tabby"),
    "coffee.png": ("espresso",),
    "rocket.jpg": ("missile",),
}


@dataclass(frozen=True)
class Photograph:
    """A photograph to judge a classifier on.

    Args:
        name: what stands in a test's id.
        answers: right labels, one of which belongs to the leading five; empty if unknown.
    """

    name: str
    path: Path
    answers: tuple[str, ...] = ()


def photographs(images: Sequence[Path] = ()) -> list[Photograph]:
    """The user's images if there are any, else the bundled photographs."""
    if images:
        return [Photograph(image.name, image) for image in images]
    folder = package_folder("skimage") / "data"
    return [
        Photograph(Path(name).stem, folder / name, BUNDLED_PHOTOGRAPHS[name])
        for name in BUNDLED_PHOTOGRAPHS
    ]


def takes_photographs(model: ModelSpec, weights: str) -> bool:
    """Whether ``model`` knows what is on a photograph, with these ``weights`` (``--weights``)."""
    trained = model.trained or weights == "pretrained"
    return trained and model.labels and model.preprocessing is not None


def read_photograph(path: Path) -> Image.Image:
    """The photograph, upright and in RGB.

    Raises:
        UsageError: no image that Pillow can read.
        CapabilityMissing: Pillow is not installed.
    """
    with optional(EXTRA):
        from PIL import Image, ImageOps
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"Pillow cannot read {path} as an image ({cause}); give --image a PNG or JPEG file"
        ) from error


def resize_and_crop(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """The middle of the resized image: ``(crop, crop, 3)``."""
    with optional(EXTRA):
        from PIL import Image
    shorter, crop = min(image.size), preprocessing.crop
    width, height = (preprocessing.resize * side // shorter for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


def normalised(pixels: Pixels, preprocessing: Preprocessing) -> Sample:
    """Pixels ``(crop, crop, 3)`` as a sample ``(3, crop, crop)``."""
    mean, std = (np.array(each, np.float32) for each in (preprocessing.mean, preprocessing.std))
    sample = (pixels.astype(np.float32) / np.float32(LEVELS) - mean) / std
    return np.ascontiguousarray(sample.transpose(2, 0, 1))


def levels_apart(one: Sample, other: Sample, preprocessing: Preprocessing) -> float:
    """The largest difference of two samples ``(3, crop, crop)``, in 8-bit levels."""
    unit = np.array(preprocessing.std).reshape(3, 1, 1) * LEVELS
    return float((np.abs(one.astype(np.float64) - other) * unit).max())


@lru_cache(maxsize=16)
def pillow_sample(path: Path, preprocessing: Preprocessing) -> Sample:
    """The photograph as a sample ``(3, crop, crop)``, by Pillow and NumPy; read-only."""
    pixels = resize_and_crop(read_photograph(path), preprocessing)
    sample = normalised(pixels, preprocessing)
    sample.setflags(write=False)
    return sample


@lru_cache(maxsize=16)
def photograph_inputs(model: ModelSpec, preprocessing: Preprocessing, path: Path) -> Inputs:
    """A batch of this one photograph, with channels where the model's input has them."""
    sample = pillow_sample(path, preprocessing)
    (spec,) = model.inputs
    if spec.sample[0] != sample.shape[0]:
        sample = sample.transpose(1, 2, 0)
    return Inputs({spec.name: np.ascontiguousarray(sample[np.newaxis])})


@lru_cache
def imagenet_labels() -> tuple[str, ...]:
    """ImageNet's 1000 labels in the order of the classes.

    They are read out of torchvision's source: importing torchvision would import torch.
    """
    source = package_folder("torchvision") / "models" / "_meta.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and _names(node) == ["_IMAGENET_CATEGORIES"]:
            return tuple(ast.literal_eval(node.value))
    raise CapabilityMissing(
        f"{source} has no _IMAGENET_CATEGORIES, so there are no labels for photographs; install "
        "the torchvision of constraints.txt"
    )


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def package_folder(package: str) -> Path:
    """Where a package lies, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise absent(package, "torch" if package == "torchvision" else EXTRA)
    return Path(spec.submodule_search_locations[0])


@input_family("photographs")
def _photographs_plan(model: ModelSpec, seed: int) -> InputPlan:
    """The bundled photographs; the user's own are computed when a test asks for them."""
    if model.preprocessing is None or importlib.util.find_spec("skimage") is None:
        return InputPlan()
    how = model.preprocessing
    return InputPlan(reference=tuple(photograph_inputs(model, how, p.path) for p in photographs()))


# -- views of photographs, as samples of a task ----------------------------------------------------

# Whole photographs are apart: none is both calibrated and judged on.
EVALUATED = (
    "skimage/data/chelsea.png", "skimage/data/coffee.png", "skimage/data/rocket.jpg",
    "skimage/data/astronaut.png", "sklearn/datasets/images/flower.jpg",
)  # fmt: skip
CALIBRATED = (
    "sklearn/datasets/images/china.jpg", "skimage/data/motorcycle_left.png",
    "skimage/data/hubble_deep_field.jpg", "skimage/data/ihc.png", "skimage/data/coins.png",
)  # fmt: skip
EVALUATION, CALIBRATION = 400, 60
FURTHER_VIEWS = 800  # more views, where the verdict hangs on too few
OTHER_VIEWS = 1  # added to the seed: they are drawn anew
SMALLEST_AREA, LARGEST_AREA = 0.25, 1.0  # of the photograph, that a crop holds
NARROWEST, WIDEST = 3 / 4, 4 / 3  # width over height, as classifiers are trained on
DARKEST, LIGHTEST = 0.6, 1.4  # brightness, contrast and colour, of the original's


def photograph_views(
    paths: Sequence[Path], count: int, preprocessing: Preprocessing, seed: int
) -> NDArray[np.float32]:
    """``count`` samples ``(count, 3, crop, crop)``, one photograph after the other."""
    rng = np.random.default_rng(seed)
    images = [read_photograph(path) for path in paths]
    drawn = [_view(images[place % len(images)], preprocessing, rng) for place in range(count)]
    return np.stack([normalised(pixels, preprocessing) for pixels in drawn])


def _view(image: Image.Image, preprocessing: Preprocessing, rng: np.random.Generator) -> Pixels:
    """A crop of any place, size and shape, perhaps flipped, in other light."""
    with optional(EXTRA):
        from PIL import Image, ImageEnhance, ImageOps
    area = rng.uniform(SMALLEST_AREA, LARGEST_AREA) * image.width * image.height
    ratio = np.exp(rng.uniform(np.log(NARROWEST), np.log(WIDEST)))
    width = min(image.width, round((area * ratio) ** 0.5))
    height = min(image.height, round((area / ratio) ** 0.5))
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    box = (left, top, left + width, top + height)
    side = (preprocessing.crop, preprocessing.crop)
    view = image.resize(side, Image.Resampling.BILINEAR, box=box)
    if rng.random() < 0.5:  # a coin
        view = ImageOps.mirror(view)
    for light in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = light(view).enhance(rng.uniform(DARKEST, LIGHTEST))
    return np.asarray(view)


def _bundled(names: Sequence[str]) -> list[Path]:
    parts = [name.split("/", 1) for name in names]
    return [package_folder(package) / rest for package, rest in parts]


@lru_cache(maxsize=4)
def _samples(model: ModelSpec, names: tuple[str, ...], count: int, seed: int) -> Samples:
    if model.preprocessing is None:
        raise CapabilityMissing(f"{model.name} has no preprocessing of photographs")
    views = photograph_views(_bundled(names), count, model.preprocessing, seed)
    if model.inputs[0].sample[0] != views.shape[1]:
        views = np.ascontiguousarray(views.transpose(0, 2, 3, 1))
    views.setflags(write=False)
    return samples_of(model, views)


register_task(
    "photographs",
    story=f"{EVALUATION} views of {len(EVALUATED)} photographs, against native",
    evaluation=lambda model, seed: _samples(model, EVALUATED, EVALUATION, seed),
    calibration=lambda model, seed: _samples(model, CALIBRATED, CALIBRATION, seed),
    further=lambda model, seed: _samples(model, EVALUATED, FURTHER_VIEWS, seed + OTHER_VIEWS),
)
