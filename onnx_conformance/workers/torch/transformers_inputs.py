"""The inputs of a transformers model, read from the signature of its ``forward``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch

from onnx_conformance.core.domains import Integers, Mask
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import Axes, Axis, Shape, TensorSpec

WHOLE, ENCODER, DECODER = "whole", "encoder", "decoder"
LENGTHS = {
    "sequence": Axis(4, 24), "target": Axis(1, 12), "past": Axis(0, 24), "new": Axis(1, 6),
    "source": Axis(4, 24), "texts": Axis(1, 6), "images": Axis(1, 6), "samples": Axis(200, 800),
    "frames": Axis(16, 48),
}  # fmt: skip
FIRST_TOKEN = 3  # after padding, beginning and end
KINDS = ("key", "value")
CACHES = ("cache", "past_key_values")  # what versions of transformers call keys and values


def cache_in(names: Iterable[str]) -> str:
    """Which of the names is that of the cache; empty for none."""
    return next((name for name in CACHES if name in tuple(names)), "")


def inputs_of(model: Any, part: str) -> tuple[tuple[TensorSpec, ...], Axes]:
    """Specs of the inputs that a deployed model is given, and the sizes of their axes.

    Raises:
        UsageError: it takes none of the inputs that are known here.
    """
    config, names = model.config, list(inspect.signature(model.forward).parameters)
    if part == DECODER:
        inputs = _of_decoder_beside_encoder(model, names)
    elif _keeps_past(model, names):
        inputs = _of_decoder(model, names)
    else:
        inputs = [*_of_texts(config, names, _batch(model, "texts")), *_of_others(model, names)]
    if not inputs:
        raise UsageError(
            f"{type(model).__name__} takes {', '.join(names)}, of which none is an input that is "
            "known here; register a function that builds it, with inputs=[TensorSpec(...)]"
        )
    used = {dim for spec in inputs for dim in spec.shape if isinstance(dim, str)}
    return tuple(inputs), tuple((name, axis) for name, axis in LENGTHS.items() if name in used)


def _batch(model: Any, inner: str) -> str:
    """The batch; of images and texts that are not paired, an axis of each."""
    apart = hasattr(model, "get_text_features") and hasattr(model, "get_image_features")
    return inner if apart else "batch"


def _ids(name: str, shape: Shape, config: Any) -> TensorSpec:
    vocabulary = getattr(config.get_text_config(), "vocab_size", None) or config.vocab_size
    return TensorSpec(name, shape, "int64", domain=Integers(FIRST_TOKEN, vocabulary))


def _of_texts(config: Any, names: list[str], batch: str) -> list[TensorSpec]:
    """Token ids, their mask and kinds, and a target's."""
    if "input_ids" not in names:
        return []
    length: int | str = "sequence" if batch == "batch" else 12
    found = [_ids("input_ids", (batch, length), config)]
    if "attention_mask" in names:
        found.append(TensorSpec("attention_mask", (batch, length), "int64", domain=Mask()))
    kinds = getattr(config, "type_vocab_size", 0) or 0
    if "token_type_ids" in names and kinds > 1:
        domain = Integers(0, kinds)
        found.append(TensorSpec("token_type_ids", (batch, length), "int64", domain=domain))
    return found


def _of_others(model: Any, names: list[str]) -> list[TensorSpec]:
    """Pixels, sound, and the tokens of a decoder."""
    config, found = model.config, []
    vision = getattr(config, "vision_config", None) or getattr(config, "backbone_config", None)
    if "pixel_values" in names:
        side = getattr(config, "image_size", None) or getattr(vision, "image_size", None) or 64
        height, width = side if isinstance(side, (list, tuple)) else (side, side)
        inner, of_vision = (getattr(one, "num_channels", None) for one in (config, vision))
        channels = int(inner or of_vision or 3)
        shape: Shape = (_batch(model, "images"), channels, height, width)
        found.append(TensorSpec("pixel_values", shape))
    if (
        "input_values" in names
        and getattr(config, "max_length", None)
        and hasattr(config, "num_mel_bins")
    ):
        shape = ("batch", config.max_length, config.num_mel_bins)
        found.append(TensorSpec("input_values", shape))
    elif "input_values" in names:
        found.append(TensorSpec("input_values", ("batch", "samples")))
    if "input_features" in names and hasattr(config, "max_source_positions"):
        frames = 2 * config.max_source_positions
        found.append(TensorSpec("input_features", ("batch", config.num_mel_bins, frames)))
    elif "input_features" in names:
        bins = getattr(config, "feature_projection_input_dim", None) or config.num_mel_bins
        found.append(TensorSpec("input_features", ("batch", "frames", bins)))
    if "decoder_input_ids" in names:
        found.append(_ids("decoder_input_ids", ("batch", "target"), config))
    return found


def _keeps_past(model: Any, names: list[str]) -> bool:
    """Whether it is a decoder alone that hands its keys and values on."""
    config = model.config
    alone = cache_in(names) and "decoder_input_ids" not in names
    cached = getattr(config.get_text_config(), "use_cache", False)
    return bool(alone and cached and "input_ids" in names and "pixel_values" not in names)


def _of_decoder(model: Any, names: list[str]) -> list[TensorSpec]:
    """New tokens, the mask of past and new ones, and the past of each layer."""
    tokens = torch.full((1, 2), FIRST_TOKEN)
    with torch.inference_mode():
        found = model(input_ids=tokens, use_cache=True, return_dict=True)
    past = _past(found)
    inputs = [_ids("input_ids", ("batch", "new"), model.config)]
    if "attention_mask" in names:
        mask = TensorSpec("attention_mask", ("batch", "past+new"), "int64", domain=Mask())
        inputs.append(mask)
    return inputs + past if past else _of_texts(model.config, names, "batch")


def _of_decoder_beside_encoder(model: Any, names: list[str]) -> list[TensorSpec]:
    """What an encoder said, new tokens, and the past of each layer."""
    if "encoder_outputs" not in names:
        raise UsageError(f"{type(model).__name__} has no decoder beside an encoder")
    config = model.config
    width = config.hidden_size if hasattr(config, "hidden_size") else config.d_model
    length: int | str = getattr(config, "max_source_positions", None) or "source"
    tokens = torch.full((1, 2), FIRST_TOKEN)
    states = torch.zeros((1, length if isinstance(length, int) else 4, width))
    with torch.inference_mode():
        found = model(
            encoder_outputs=(states,), decoder_input_ids=tokens, use_cache=True, return_dict=True
        )
    inputs = [TensorSpec("encoder_hidden_states", ("batch", length, width))]
    if "attention_mask" in names and isinstance(length, str):
        mask = TensorSpec("attention_mask", ("batch", length), "int64", domain=Mask())
        inputs.append(mask)
    return [*inputs, _ids("decoder_input_ids", ("batch", "new"), config),
            *_past(found)]  # fmt: skip


def _past(answer: Any) -> list[TensorSpec]:
    """The past of the layers in an answer's cache, ``(batch, heads, past, features)`` each."""
    cache = answer.get(cache_in(answer))
    inner = getattr(cache, "self_attention_cache", cache)
    found = []
    for place, layer in enumerate(getattr(inner, "layers", ())):
        for kind in KINDS:
            tensor = getattr(layer, f"{kind}s", None)
            if not torch.is_tensor(tensor) or tensor.ndim != 4:
                return []
            shape = ("batch", tensor.shape[1], "past", tensor.shape[3])
            found.append(TensorSpec(f"past_key_values.{place}.{kind}", shape))
    return found
