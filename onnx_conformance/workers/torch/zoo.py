"""torchvision's and timm's models by pointer (``torchvision:NAME``), and torchvision's samples.

Detection, segmentation and video models come at sizes that run in minutes: their weights and graphs
are torchvision's, images and clips are smaller than in training. Neither package is imported before
it is asked for.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onnx_conformance.core.domains import Bounded
from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.spec import Preprocessing, TensorSpec
from onnx_conformance.core.text import resembling
from onnx_conformance.workers.torch.calibrate import (
    LOGIT_STD,
    calibrate_norms,
    draw_gains_and_biases,
    takes,
)

SIDE = 128  # pixels of an image
CLIPS = ((8, 56, 56), (8, 112, 112), (16, 112, 112), (16, 224, 224))  # frames and pixels, tried
# How a detector with a region proposal network or a resizing transform is made small.
RESIZED = {"min_size": SIDE, "max_size": 2 * SIDE}
PROPOSALS = {"rpn_pre_nms_top_n_test": 200, "rpn_post_nms_top_n_test": 100}
CANDIDATES = 30  # boxes of an image above the score threshold, before overlapping ones are dropped


def torchvision_sample(path: str, preprocessing: Preprocessing) -> NDArray[Any]:
    """The photograph as a sample: ``(3, crop, crop)`` float32.

    Torch's own kernel resizes, because a transform of a PIL image would call Pillow, with which
    the result is compared.
    """
    from PIL import Image, ImageOps
    from torchvision import transforms

    steps = transforms.Compose(
        [
            transforms.PILToTensor(),
            transforms.Resize(preprocessing.resize, antialias=True),
            transforms.CenterCrop(preprocessing.crop),
            transforms.ConvertImageDtype(torch.float32),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    with Image.open(path) as image:
        sample = steps(ImageOps.exif_transpose(image).convert("RGB"))
    return np.ascontiguousarray(sample.numpy())


def torchvision_classifier(member: str, *, pretrained: bool) -> Any:
    """torchvision's model ``member``; with ``pretrained``, its default weights."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if member not in known:
        close = resembling(member, known)
        raise UsageError(f"torchvision has no model '{member}'{close}")
    return _of_torchvision(member, pretrained)


def timm_classifier(member: str, *, pretrained: bool) -> Any:
    """timm's model ``member`` and an example of its input; with ``pretrained``, its weights."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UsageError(
            f"timm:{member} needs timm, which is not installed: pip install timm"
        ) from error
    known = timm.list_models()
    if member not in known:
        raise UsageError(f"timm has no model '{member}'{resembling(member, known)}")
    try:
        model = timm.create_model(member, pretrained=pretrained)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise CapabilityMissing(
            f"timm's weights of {member} are not cached and cannot be fetched ({error})"
        ) from error
    size = model.pretrained_cfg["input_size"]
    return model, {"input": np.zeros((1, *size), np.float32)}


def _of_torchvision(member: str, pretrained: bool, **options: Any) -> Any:
    import torchvision

    try:
        weights = "DEFAULT" if pretrained else None
        return torchvision.models.get_model(member, weights=weights, **options)
    except OSError as error:  # URLError is one: neither cached nor to be fetched
        raise CapabilityMissing(
            f"torchvision's weights of {member} are not cached and cannot be fetched ({error})"
        ) from error


def _of_task(member: str, pretrained: bool, **options: int) -> Any:
    """A model of a task; without trained weights, those of its backbone are not fetched either."""
    import torchvision

    known = torchvision.models.list_models()
    if member not in known:
        raise UsageError(f"torchvision has no model '{member}'{resembling(member, known)}")
    builder = torchvision.models.get_model_builder(member)
    if not pretrained and "weights_backbone" in inspect.signature(builder).parameters:
        return _of_torchvision(member, pretrained, weights_backbone=None, **options)
    return _of_torchvision(member, pretrained, **options)


def segmentation_model(member: str, *, pretrained: bool) -> Any:
    """A segmentation model, and the spec of its input."""
    model = _of_task(member, pretrained)
    return model, [TensorSpec("image", ("batch", 3, SIDE, SIDE))]


def video_model(member: str, *, pretrained: bool) -> Any:
    """A video classifier, and the spec of the smallest clip that it takes."""
    model = _of_task(member, pretrained).eval()
    clip = next((clip for clip in CLIPS[:-1] if takes(model, (3, *clip))), CLIPS[-1])
    return model, [TensorSpec("clip", ("batch", 3, *clip))]


def detection_model(member: str, *, pretrained: bool) -> Any:
    """A detector of one image, and the spec of that.

    Without trained weights its classes are drawn so that some boxes of an image pass its threshold.
    """
    small = {} if member.startswith("ssd") else RESIZED | (PROPOSALS if "rcnn" in member else {})
    model = _of_task(member, pretrained, **small).eval()
    if member.startswith("ssdlite"):  # its builder fixes the size
        model.transform.fixed_size = (SIDE, SIDE)
    if not pretrained:
        _awaken(model)
    return Detector(model), [TensorSpec("image", (3, SIDE, SIDE), domain=Bounded(0, 1))]


class Detector(nn.Module):
    """One image in; boxes, labels, scores and what else is found out, by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = self.model([image])[0]
        return found


def _awaken(model: Any) -> None:
    """Norms as on real activations, and class scores of which some pass the threshold."""
    generator = torch.Generator().manual_seed(0)
    batches = [[torch.rand(3, SIDE, SIDE, generator=generator) for _ in range(3)] for _ in range(2)]
    draw_gains_and_biases(model, seed=0)
    calibrate_norms(model, batches, generator)
    heads, softmax = _class_layers(model)
    for layer in heads:
        nn.init.normal_(layer.weight, 0.0, 0.01, generator=generator)
        nn.init.zeros_(layer.bias)
    image = batches[0][:1]
    spread = _logits(model, heads, image).std()
    for layer in heads:
        layer.weight.data *= LOGIT_STD / spread
    logits = _logits(model, heads, image).double()
    threshold = _threshold(model)
    classes = logits.shape[1]
    if not softmax:
        shift = torch.logit(torch.tensor(threshold)) - logits.flatten().topk(CANDIDATES).values[-1]
        for layer in heads:
            layer.bias.data += shift.float()
        return
    # a class passes where exp(its logit) / threshold exceeds the sum over classes and background
    weights = logits[:, 1:].exp()
    room = (weights / threshold - weights.sum(1, keepdim=True)).clamp_min(1e-300).log()
    shift = (room - logits[:, :1]).flatten().topk(CANDIDATES).values[-1]
    for layer in heads:
        layer.bias.data.view(-1, classes)[:, 0] += shift.float()


def _class_layers(model: Any) -> tuple[list[Any], bool]:
    """The layers that give class logits, and whether a softmax with a background follows."""
    if hasattr(model, "roi_heads"):
        return [model.roi_heads.box_predictor.cls_score], True
    head = model.head.classification_head
    if hasattr(head, "cls_logits"):
        return [head.cls_logits], False
    last = [
        [p for p in part.modules() if isinstance(p, nn.Conv2d)][-1] for part in head.module_list
    ]
    return last, True


def _threshold(model: Any) -> float:
    """The score that a box needs; of FCOS the class's share of it, beside a centre-ness of 0.5."""
    holder = model.roi_heads if hasattr(model, "roi_heads") else model
    score = float(holder.score_thresh)
    return 2.0 * score**2 if hasattr(model, "center_sampling_radius") else score


def _logits(model: Any, layers: list[Any], images: list[torch.Tensor]) -> torch.Tensor:
    """The logits of an image, ``(places, classes)``."""
    found: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda part, inputs, output: found.append(output.clone()))
        for layer in layers
    ]
    with torch.inference_mode():
        model(images)
    for hook in hooks:
        hook.remove()
    classes = _classes(model)
    moved = [one if one.dim() == 2 else one.permute(0, 2, 3, 1) for one in found]
    return torch.cat([one.reshape(-1, classes) for one in moved]).clone()


def _classes(model: Any) -> int:
    if hasattr(model, "roi_heads"):
        return int(model.roi_heads.box_predictor.cls_score.out_features)
    head = model.head.classification_head
    return int(getattr(head, "num_classes", None) or head.num_columns)
