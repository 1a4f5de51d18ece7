"""torchvision's classification models, registered and by pointer (``torchvision:NAME``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.text import resembling


def torchvision_classifier(member: str, *, pretrained: bool) -> Any:
    """torchvision's model ``member``; with ``pretrained``, its default weights."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if member not in known:
        close = resembling(member, known)
        raise UsageError(f"torchvision has no classification model '{member}'{close}")
    if not pretrained:
        return torchvision.models.get_model(member, weights=None)
    try:
        return torchvision.models.get_model(member, weights="DEFAULT")
    except OSError as error:  # URLError is one: neither cached nor to be fetched
        raise CapabilityMissing(
            f"torchvision's weights of {member} are not cached and cannot be fetched ({error})"
        ) from error


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
