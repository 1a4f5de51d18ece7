"""Keras models: a Sequential and MobileNetV2 from keras.applications."""

from __future__ import annotations

from typing import Any

from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.text import resembling

IMAGENET = (224, 224, 3)


def keras_application(member: str, *, pretrained: bool) -> Any:
    """A model of keras.applications; with ``pretrained``, ImageNet's weights.

    Raises:
        UsageError: no such model.
        CapabilityMissing: its weights cannot be fetched.
    """
    import keras

    known = {
        name.lower(): name
        for name in dir(keras.applications)
        if name[:1].isupper() and callable(getattr(keras.applications, name))
    }
    wanted = member.lower().replace("_", "")
    if wanted not in known:
        close = resembling(member, known.values())
        raise UsageError(f"keras.applications has no model '{member}'{close}")
    return _fetched(getattr(keras.applications, known[wanted]), known[wanted], pretrained)


def _sized(make: Any, weights: str | None) -> Any:
    """The model at its own size, or, where it takes any, at ImageNet's."""
    model = make(weights=weights)
    if None not in model.input_shape[1:]:
        return model
    return make(weights=weights, input_shape=IMAGENET)


def _fetched(make: Any, name: str, pretrained: bool) -> Any:
    if not pretrained:
        return _sized(make, None)
    try:
        return _sized(make, "imagenet")
    except Exception as error:  # keras raises a bare Exception when it cannot fetch
        if "URL fetch failure" not in str(error):
            raise
        raise CapabilityMissing(
            f"Keras' weights of {name} are not cached and cannot be fetched ({error})"
        ) from error
