"""Models of Hugging Face's transformers by pointer: ``hf-tiny:BertModel``, ``hf:FOLDER``.

A tiny one is made of its configuration's class, with seeded weights of which each matters; nothing
is downloaded. Its inputs are read from the signature of ``forward``, its outputs from an answer:
those of a cache are inputs and outputs by name, ``past_key_values.0.key`` and ``present.0.key``.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import InputSpecs
from onnx_conformance.core.text import resembling
from onnx_conformance.workers.torch.tiny_configs import tiny_config
from onnx_conformance.workers.torch.transformers_inputs import (
    CACHES,
    DECODER,
    ENCODER,
    KINDS,
    WHOLE,
    cache_in,
    inputs_of,
)

FIELDS = re.compile(r",(?=\w+=)")  # before each field=value of a pointer
PARTS = (WHOLE, ENCODER, DECODER)


def tiny_model(member: str, *, pretrained: bool) -> tuple[nn.Module, InputSpecs]:
    """The class ``member`` in a tiny configuration, and its inputs.

    Args:
        member: ``BertModel``, or with fields of its configuration, ``LlamaModel,use_cache=False``;
            ``part=encoder`` or ``decoder`` of a model that has both.

    Raises:
        UsageError: transformers is not installed, has no such class, or cannot make it tiny.
    """
    name, *texts = FIELDS.split(member)
    options = dict(_option(text) for text in texts)
    part = options.pop("part", WHOLE)
    kind = _class(name)
    config = tiny_config(kind.config_class, options)
    model = kind(config).eval()
    awaken(model)
    return _ready(member, model, part)


def stored_model(member: str, *, pretrained: bool) -> tuple[nn.Module, InputSpecs]:
    """The model in a folder or in the user's cache, as its configuration's ``architectures`` says.

    Nothing is downloaded, no code of the checkpoint's is run, and weights are safetensors or
    tensors alone.

    Raises:
        UsageError: it is not there, needs code of its own, or is of no class that is known.
    """
    transformers = _transformers(member)
    path, *texts = FIELDS.split(member)
    part = dict(_option(text) for text in texts).pop("part", WHOLE)
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(path, **local)
        kind = _class((config.architectures or ["?"])[0])
        _refuse_code(path, config)
        model = kind.from_pretrained(path, config=config, weights_only=True, **local)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise UsageError(
            f"hf:{path}: {said}; give a folder with config.json and its weights (safetensors)"
        ) from error
    return _ready(member, model.float().eval(), part)


def _refuse_code(path: str, config: Any) -> None:
    """A configuration that names code of the checkpoint's own."""
    if getattr(config, "auto_map", None):
        raise UsageError(
            f"hf:{path}: its config.json names code of its own (auto_map), which is not run; "
            "register a function that builds the model, in a file of yours"
        )


def _transformers(member: str) -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{member} needs transformers, which is not installed: pip install transformers"
        ) from error
    transformers.logging.set_verbosity_error()
    return transformers


def _class(name: str) -> Any:
    transformers = _transformers(name)
    name, comma, field = name.partition(",")
    if comma:
        raise UsageError(f"{name}: '{field}' is no field=value of its configuration")
    found = getattr(transformers, name, None)
    if found is None or getattr(found, "config_class", None) is None:
        known = [one for one in dir(transformers) if one[0].isupper()]
        raise UsageError(f"transformers has no model class '{name}'{resembling(name, known)}")
    return found


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _ready(member: str, model: nn.Module, part: str) -> tuple[nn.Module, InputSpecs]:
    if part not in PARTS:
        raise UsageError(f"{member}: part={part}; one of {', '.join(PARTS[1:])} is wanted")
    if part == ENCODER:
        model = getattr(model, "get_encoder")()  # noqa: B009 - not of every Module
    inputs, axes = inputs_of(model, part)
    return Named(model, [spec.name for spec in inputs]), InputSpecs(inputs, axes)


class Named(nn.Module):
    """A model of transformers that takes and gives tensors by name, those of its cache too."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)
        self.cache = cache_in(inspect.signature(model.forward).parameters)

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        named = dict(zip(self.names, inputs, strict=True))
        past = {name: tensor for name, tensor in named.items() if name.startswith("past_key")}
        plain: dict[str, Any] = {n: tensor for n, tensor in named.items() if n not in past}
        if "encoder_hidden_states" in plain:
            plain["encoder_outputs"] = (plain.pop("encoder_hidden_states"),)
        if past:
            plain[self.cache] = cache_of(past, nested="encoder_outputs" in plain)
        found = self.model(**plain, return_dict=True)
        fed = {"encoder_last_hidden_state"} if "encoder_outputs" in plain else set()
        kept = {name: value for name, value in found.items() if name not in fed}
        return dict(_flattened(kept, with_cache=bool(past)))


def cache_of(past: Mapping[str, torch.Tensor], *, nested: bool) -> Any:
    """transformers' cache of keys and values by name, ``past_key_values.0.key``.

    Args:
        nested: of a decoder that looks at an encoder too, whose keys are computed at every call.
    """
    from transformers import DynamicCache, EncoderDecoderCache

    layers = [
        tuple(past[f"past_key_values.{layer}.{kind}"] for kind in KINDS)
        for layer in range(len(past) // len(KINDS))
    ]
    cache = DynamicCache(layers)
    return EncoderDecoderCache(cache, DynamicCache()) if nested else cache


def layers_of(cache: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer of a cache; none of one of another kind."""
    inner = getattr(cache, "self_attention_cache", cache)
    layers = getattr(inner, "layers", ())
    found = [(getattr(one, "keys", None), getattr(one, "values", None)) for one in layers]
    return [(k, v) for k, v in found if torch.is_tensor(k) and torch.is_tensor(v)]


def _flattened(found: Mapping[str, Any], *, with_cache: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of an answer by name; a cache that did not go in is left out."""
    for name, value in found.items():
        if torch.is_tensor(value):
            yield name, value
        elif isinstance(value, (tuple, list)):
            tensors = [one for one in value if torch.is_tensor(one)]
            yield from ((f"{name}.{place}", one) for place, one in enumerate(tensors))
        elif with_cache and name in CACHES:
            for layer, pair in enumerate(layers_of(value)):
                for kind, tensor in zip(KINDS, pair, strict=True):
                    yield f"present.{layer}.{kind}", tensor


NORM_GAIN, NORM_BIAS, BIAS = (0.7, 1.3), 0.2, 0.1


@torch.no_grad()
def awaken(model: nn.Module) -> None:
    """Seeded weights of which each moves the outputs, in place of what training starts from.

    Layers keep the size of what passes through them (normal numbers over the root of their inputs),
    norms have gains beside 1 and biases, tables of embeddings have rows of size 1.
    """
    for part in model.modules():
        inner = dict(part.named_parameters(recurse=False))
        weight, bias = inner.get("weight"), inner.get("bias")
        if weight is None:
            for parameter in inner.values():
                if (
                    parameter.numel() > 1
                    and parameter.std() < 0.1
                    and parameter.is_floating_point()
                ):
                    parameter.add_(0.3 * torch.randn_like(parameter))
        elif "Norm" in type(part).__name__ or weight.ndim == 1:
            centre = 0.0 if weight.abs().max() == 0 else 1.0  # Gemma's gains are beside 1
            weight.copy_(torch.empty_like(weight).uniform_(*NORM_GAIN) - 1.0 + centre)
            if bias is not None:
                bias.copy_(NORM_BIAS * torch.randn_like(bias))
        elif isinstance(part, nn.Embedding):
            weight.copy_(torch.randn_like(weight))
        else:
            fan = weight[0].numel() if type(part).__name__ != "Conv1D" else weight.shape[0]
            weight.copy_(torch.randn_like(weight) / fan**0.5)
            if bias is not None:
                bias.copy_(BIAS * torch.randn_like(bias))
