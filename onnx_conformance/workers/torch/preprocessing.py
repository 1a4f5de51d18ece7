"""Photographs made into samples by torchvision's transforms. Runs in the torch worker's process."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision import transforms


class PreprocessingRequest(TypedDict):
    """:class:`onnx_conformance.core.spec.Preprocessing` as plain data."""

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def torchvision_preprocess(path: str, request: PreprocessingRequest) -> NDArray[Any]:
    """The photograph as a sample: ``(3, crop, crop)`` float32.

    Torch's own kernel resizes, because a transform of a PIL image would call Pillow, with which
    the result is compared.
    """
    steps = transforms.Compose(
        [
            transforms.PILToTensor(),
            transforms.Resize(request["resize"], antialias=True),
            transforms.CenterCrop(request["crop"]),
            transforms.ConvertImageDtype(torch.float32),
            transforms.Normalize(request["mean"], request["std"]),
        ]
    )
    with Image.open(path) as image:
        sample = steps(ImageOps.exif_transpose(image).convert("RGB"))
    return np.ascontiguousarray(sample.numpy())
