"""The inputs of a transformers model, read from the signature of its ``forward``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from onnx_conformance.core.domains import Integers, Mask
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import Axes, Axis, Shape, TensorSpec
from onnx_conformance.workers.torch.calling_convention import CACHES, PAST, of_cache

WHOLE, ENCODER, DECODER = "whole", "encoder", "decoder"
LENGTHS = {
    "sequence": Axis(4, 24), "target": Axis(1, 12), "past": Axis(0, 24), "new": Axis(1, 6),
    "source": Axis(4, 24), "texts": Axis(1, 6), "images": Axis(1, 6), "samples": Axis(200, 800),
    "frames": Axis(16, 48),
}  # fmt: skip
CODES = 128  # of a model that reads characters by their codes
FIRST_TOKEN = 3  # after padding, beginning and end
ENCODER_STATES = "encoder_hidden_states"  # the input of a decoder that is fed what an encoder said


def cache_in(names: Iterable[str]) -> str:
    """Which of the names is that of the cache; empty for none."""
    return next((name for name in CACHES if name in tuple(names)), "")


def inputs_of(model: Any, part: str) -> tuple[tuple[TensorSpec, ...], Axes]:
    """Specs of the inputs that a deployed model is given, and the sizes of their axes.

    Raises:
        UsageError: it takes none of the inputs that are known here.
    """
    names = list(inspect.signature(model.forward).parameters)
    if part == DECODER:
        inputs = _of_decoder_beside_encoder(model, names)
    elif _keeps_past(model, names):
        inputs = _of_decoder(model, names)
    else:
        return inputs_of_whole(model)
    return tuple(inputs), _axes(inputs, model.config)


def inputs_of_whole(model: Any) -> tuple[tuple[TensorSpec, ...], Axes]:
    """Those of one call without a past.

    Raises:
        UsageError: it takes none of the inputs that are known here.
    """
    config, names = model.config, list(inspect.signature(model.forward).parameters)
    inputs = [*_of_texts(config, names, _batch(model, "texts")), *_of_others(model, names)]
    if not inputs:
        raise UsageError(
            f"{type(model).__name__} takes {', '.join(names)}, of which none is an input that is "
            "known here; register a function that builds it, with inputs=[TensorSpec(...)]"
        )
    return tuple(inputs), _axes(inputs, config)


def _axes(inputs: Sequence[TensorSpec], config: Any) -> Axes:
    used = {dim for spec in inputs for dim in spec.shape if isinstance(dim, str)}
    lengths = {**LENGTHS, "samples": _samples(config)}
    return tuple((name, axis) for name, axis in lengths.items() if name in used)


def _samples(config: Any) -> Axis:
    """Lengths of sound: of a codec several of its frames, since a shorter one is padded apart."""
    frame = math.prod(getattr(config, "upsampling_ratios", None) or ())
    return Axis(8 * frame, 12 * frame) if frame > 1 else LENGTHS["samples"]


def _batch(model: Any, inner: str) -> str:
    """The batch; of images and texts that are not paired, an axis of each."""
    apart = hasattr(model, "get_text_features") and hasattr(model, "get_image_features")
    return inner if apart else "batch"


def token_ids(name: str, shape: Shape, config: Any) -> TensorSpec:
    """Numbers of words, those of the padding, the beginning and the end among them."""
    of_text, own = (getattr(one, "vocab_size", 0) for one in (config.get_text_config(), config))
    vocabulary = of_text or own or CODES
    return TensorSpec(name, shape, "int64", domain=Integers(0, vocabulary))


def _of_texts(config: Any, names: list[str], batch: str) -> list[TensorSpec]:
    """Token ids, their mask and kinds, and a target's."""
    if "input_ids" not in names:
        return []
    length: int | str = "sequence" if batch == "batch" else 12
    found = [token_ids("input_ids", (batch, length), config)]
    if "attention_mask" in names:
        found.append(TensorSpec("attention_mask", (batch, length), "int64", domain=Mask()))
    kinds = getattr(config, "type_vocab_size", 0) or 0
    if "token_type_ids" in names and kinds > 1:
        domain = Integers(0, kinds)
        found.append(TensorSpec("token_type_ids", (batch, length), "int64", domain=domain))
    return found


def _of_others(model: Any, names: list[str]) -> list[TensorSpec]:
    """Pixels, sound, series of numbers, and the tokens of a decoder."""
    config = model.config
    found = [
        *(_of_pixels(config, _batch(model, "images")) if "pixel_values" in names else ()),
        *(_of_waves(config) if "input_values" in names else ()),
        *(_of_features(config) if "input_features" in names else ()),
        *(_of_series(config, names) if "past_values" in names else ()),
    ]
    if "decoder_input_ids" in names:
        found.append(token_ids("decoder_input_ids", ("batch", "target"), config))
    return found


def _of_pixels(config: Any, batch: str) -> list[TensorSpec]:
    """An image, or the images of a film."""
    vision = getattr(config, "vision_config", None) or getattr(config, "backbone_config", None)
    sides = [getattr(config, "image_size", None), getattr(vision, "image_size", None),
             getattr(config, "input_size", None)]  # fmt: skip
    side = next((one for one in sides if one), 64)
    height, width = side if isinstance(side, (list, tuple)) else (side, side)
    own, of_vision = (getattr(one, "num_channels", None) for one in (config, vision))
    frames = getattr(config, "num_frames", None)
    shape = (*((frames,) if frames else ()), int(own or of_vision or 3), height, width)
    return [TensorSpec("pixel_values", (batch, *shape))]


def _of_waves(config: Any) -> list[TensorSpec]:
    """Sound as it was sampled; of some models its spectrum, of one length."""
    if getattr(config, "max_length", None) and hasattr(config, "num_mel_bins"):
        return [TensorSpec("input_values", ("batch", config.max_length, config.num_mel_bins))]
    channels = getattr(config, "audio_channels", None)
    shape = ("batch", channels, "samples") if channels else ("batch", "samples")
    return [TensorSpec("input_values", shape)]


def _of_features(config: Any) -> list[TensorSpec]:
    """The spectrum of sound."""
    names = ("num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel")
    bins = next((size for name in names if (size := getattr(config, name, None))), 80)
    if hasattr(config, "max_source_positions") and hasattr(config, "num_mel_bins"):
        frames = 2 * config.max_source_positions
        return [TensorSpec("input_features", ("batch", bins, frames))]
    return [TensorSpec("input_features", ("batch", "frames", bins))]


def _of_series(config: Any, names: list[str]) -> list[TensorSpec]:
    """What was measured, and what is known of the time to come."""
    lags, ahead = getattr(config, "lags_sequence", None), config.prediction_length
    if not lags:
        channels = config.num_input_channels
        return [TensorSpec("past_values", ("batch", config.context_length, channels))]
    behind = config.context_length + max(lags)
    found = []
    for time, steps in (("past", behind), ("future", ahead)):
        values = TensorSpec(f"{time}_values", ("batch", steps))
        features = ("batch", steps, config.num_time_features)
        found += [values, TensorSpec(f"{time}_time_features", features)]
    observed = TensorSpec("past_observed_mask", ("batch", behind), domain=Mask(side="left"))
    return [spec for spec in (*found, observed) if spec.name in names]


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
    inputs = [token_ids("input_ids", ("batch", "new"), model.config)]
    if "attention_mask" in names:
        padded = Mask(side="left")  # as texts of unlike lengths are fed in batches
        inputs.append(TensorSpec("attention_mask", ("batch", "past+new"), "int64", domain=padded))
    return inputs + past if past else _of_texts(model.config, names, "batch")


def _of_decoder_beside_encoder(model: Any, names: list[str]) -> list[TensorSpec]:
    """What an encoder said, new tokens, and the past of each layer."""
    if "encoder_outputs" not in names:
        raise UsageError(f"{type(model).__name__} has no decoder beside an encoder")
    config = model.config
    width, length = width_of(config), source_of(config)
    tokens = torch.full((1, 2), FIRST_TOKEN)
    states = torch.zeros((1, length if isinstance(length, int) else 4, width))
    with torch.inference_mode():
        found = model(
            encoder_outputs=(states,), decoder_input_ids=tokens, use_cache=True, return_dict=True
        )
    inputs = [TensorSpec(ENCODER_STATES, ("batch", length, width))]
    if "attention_mask" in names and isinstance(length, str):
        mask = TensorSpec("attention_mask", ("batch", length), "int64", domain=Mask())
        inputs.append(mask)
    return [*inputs, token_ids("decoder_input_ids", ("batch", "new"), config),
            *_past(found)]  # fmt: skip


def width_of(config: Any) -> int:
    """Features of what an encoder says."""
    return int(config.hidden_size if hasattr(config, "hidden_size") else config.d_model)


def source_of(config: Any) -> int | str:
    """How long it is: an axis, unless it is of one length."""
    return getattr(config, "max_source_positions", None) or "source"


def _past(answer: Any) -> list[TensorSpec]:
    """The past of the layers in an answer's cache, ``(batch, heads, past, features)`` each.

    None where a layer keeps something else, such as the state of a convolution.
    """
    cache = answer.get(cache_in(answer))
    layers = getattr(getattr(cache, "self_attention_cache", cache), "layers", ())
    found = dict(of_cache(PAST, cache))
    if len(found) < 2 * len(layers) or any(tensor.ndim != 4 for tensor in found.values()):
        return []
    return [
        TensorSpec(name, ("batch", tensor.shape[1], "past", tensor.shape[3]))
        for name, tensor in found.items()
    ]
