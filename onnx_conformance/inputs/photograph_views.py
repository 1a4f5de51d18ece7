"""Views of photographs: crops, flips and other light, as samples of an ImageNet classifier.

What is on them is not labelled view by view, so what native names is the right answer. Views of
one photograph are alike: bounds hold over draws of views of these photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.extras import optional
from onnx_conformance.core.spec import ModelSpec, Preprocessing
from onnx_conformance.inputs.photographs import (
    EXTRA,
    Pixels,
    normalised,
    package_folder,
    read_photograph,
)
from onnx_conformance.inputs.tasks import Samples, register_task, samples_of

if TYPE_CHECKING:
    from PIL import Image

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
FURTHER = 800  # more views, where the verdict hangs on too few
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
    further=lambda model, seed: _samples(model, EVALUATED, FURTHER, seed + OTHER_VIEWS),
)
