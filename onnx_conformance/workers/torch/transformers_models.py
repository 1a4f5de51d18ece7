"""Models of Hugging Face's transformers by pointer: ``hf-tiny:BertModel``, ``hf:FOLDER``.

A tiny one is made of its configuration's class, with seeded weights of which each matters; nothing
is downloaded. Its inputs are read from the signature of ``forward``, its outputs from an answer:
those of a cache are inputs and outputs by name, ``past_key_values.0.key`` and ``present.0.key``.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.file_roles import FIRST, MERGED, NEXT, TOGETHER
from onnx_conformance.core.spec import InputSpecs
from onnx_conformance.core.text import resembling
from onnx_conformance.inputs.batch_layout import first_call
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.workers.torch.calibrate import (
    BATCH_SIZE,
    BATCHES,
    BIAS,
    NORM_GAIN,
    calibrate_norms,
)
from onnx_conformance.workers.torch.calling_convention import (
    PAST,
    ByName,
    CacheSlot,
    ContainerSlot,
    Slot,
)
from onnx_conformance.workers.torch.tiny_configs import tiny_config
from onnx_conformance.workers.torch.transformers_files import of_chain, of_file
from onnx_conformance.workers.torch.transformers_inputs import (
    DECODER,
    ENCODER,
    ENCODER_STATES,
    WHOLE,
    cache_in,
    inputs_of,
)

FIELDS = re.compile(r",(?=\w+=)")  # before each field=value of a pointer
PARTS = (WHOLE, ENCODER, DECODER)
OF_FILES = (FIRST, NEXT, MERGED)  # roles of files
UNREAD = (
    "attention_mask",
    "token_type_ids",
)  # which some signatures share with others and do not read
# How transformers multiplies a mixture of experts: its usual way has no float64 and no ONNX.
GROUPED, BATCHED = "grouped_mm", "batched_mm"


def tiny_model(member: str, *, pretrained: bool) -> tuple[nn.Module, InputSpecs]:
    """The class ``member`` in a tiny configuration, and its inputs.

    Args:
        member: ``BertModel``, or with fields of its configuration, ``LlamaModel,use_cache=False``;
            ``part=encoder`` or ``decoder`` of a model that has both.

    Raises:
        UsageError: transformers is not installed, has no such class, or cannot make it tiny.
    """
    name, part, names, options = _pointed(member)
    kind = _class(name)
    config = tiny_config(kind.config_class, options)
    model = kind(config).eval()
    awaken(model)
    ready, found = _part(member, model, part, names)
    if len(found.inputs) == 1 and found.inputs[0].floating:
        _settle(ready, found)
    return ready, found


def _settle(model: nn.Module, found: InputSpecs) -> None:
    """Statistics of BatchNorms as inputs give them: those of no training fade layer by layer."""
    recipes = [Recipe("normal", batch=BATCH_SIZE, seed=seed) for seed in range(BATCHES)]
    batches = [tensor for recipe in recipes for tensor in _call(recipe, found).values()]
    calibrate_norms(model, batches, torch.Generator().manual_seed(0))


def _call(recipe: Recipe, found: InputSpecs) -> dict[str, torch.Tensor]:
    """The tensors of one call by name."""
    call = first_call(recipe, found.inputs, found.axes)
    return {name: torch.from_numpy(array) for name, array in call.items()}


def stored_model(member: str, *, pretrained: bool) -> tuple[nn.Module, InputSpecs]:
    """The model in a folder or in the user's cache, as its configuration's ``architectures`` says.

    Nothing is downloaded, and weights are safetensors or tensors alone. Code of the checkpoint's
    own is run where its user says so: ``FOLDER,trust_remote_code=True``. Other fields after a
    comma are the configuration's.

    Raises:
        UsageError: it is not there, needs code of its own, or is of no class that is known.
    """
    transformers = _transformers(member)
    path, part, names, options = _pointed(member)
    trusted = options.pop("trust_remote_code", False) is True
    meant = Path(path)
    if (meant.is_absolute() or meant.exists()) and not (meant / "config.json").is_file():
        raise UsageError(
            f"hf:{path} is no folder with a config.json; give the folder that save_pretrained wrote"
        )
    local = {"local_files_only": True, "trust_remote_code": trusted}
    try:
        fields, _ = transformers.PretrainedConfig.get_config_dict(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"hf:{path} is no folder, and your cache has no configuration of that name; nothing is "
            "downloaded: give the folder that save_pretrained wrote"
        ) from error
    try:
        kind = _stored_class(path, fields, trusted=trusted)
        config = transformers.AutoConfig.from_pretrained(path, **local)
        _set_fields(path, config, options)
        model = kind.from_pretrained(path, config=config, weights_only=True, **local)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200].rstrip(".")
        raise UsageError(
            f"hf:{path}: {said}; give a folder with config.json and its weights (safetensors)"
        ) from error
    return _part(member, model.float().eval(), part, names)


def _pointed(member: str) -> tuple[str, str, list[str], dict[str, Any]]:
    """A pointer's class or folder, its part, the inputs of its file, and other fields."""
    name, *texts = FIELDS.split(member)
    options = dict(_option(text) for text in texts)
    return name, options.pop("part", WHOLE), options.pop("inputs", "").split(), options


def _part(member: str, model: Any, part: str, names: list[str]) -> tuple[nn.Module, InputSpecs]:
    """A part of the model: by its name, as what a file stands for, or all files in a row."""
    if part == TOGETHER:
        found = of_chain(model, names)
        return _by_name(model, [spec.name for spec in found.inputs]), found
    with_past = any(name.startswith(f"{PAST}.") for name in names)
    if part in OF_FILES or (part == WHOLE and with_past):
        return of_file(member, model, part, names)
    return _ready(member, model, part)


def _set_fields(path: str, config: Any, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if not hasattr(config, name):
            raise UsageError(f"hf:{path}: {type(config).__name__} has no '{name}'")
        setattr(config, name, value)


def _stored_class(path: str, config: Mapping[str, Any], *, trusted: bool) -> Any:
    """The class of a checkpoint; one of its own code where that is trusted.

    Raises:
        UsageError: its configuration names code of its own, and nobody said to run it.
    """
    own = config.get("auto_map")
    if own and not trusted:
        raise UsageError(
            f"hf:{path}: its config.json names code of its own (auto_map), which is not run; "
            "register a function that builds the model, in a file of yours, or, if you trust that "
            "code, add ,trust_remote_code=True"
        )
    kinds = [name for name in own or () if name.startswith("AutoModel")]
    if kinds:
        return getattr(_transformers(path), kinds[0])
    return _class((config.get("architectures") or ["?"])[0])


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
        known = [one for one in dir(transformers) if one.endswith("Model") or "For" in one]
        raise UsageError(f"transformers has no model class '{name}'{resembling(name, known)}")
    return found


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _ready(member: str, model: nn.Module, part: str) -> tuple[ByName, InputSpecs]:
    if part not in PARTS:
        raise UsageError(f"{member}: part={part}; one of {', '.join(PARTS[1:])} is wanted")
    if getattr(model.config, "_experts_implementation", "") == GROUPED:
        getattr(model, "set_experts_implementation")(BATCHED)  # noqa: B009 - not of every Module
    if part == ENCODER:
        model = getattr(model, "get_encoder")()  # noqa: B009 - not of every Module
    found = InputSpecs(*inputs_of(model, part))
    ready = _by_name(model, [spec.name for spec in found.inputs])
    ignored = _ignored(member, ready, found)
    if not ignored:
        return ready, found
    inputs = tuple(spec for spec in found.inputs if spec.name not in ignored)
    return _by_name(model, [spec.name for spec in inputs]), InputSpecs(inputs, found.axes)


def _ignored(member: str, model: ByName, found: InputSpecs) -> set[str]:
    """The masks and kinds of tokens that ``forward`` takes and does not read.

    Raises:
        UsageError: the model refuses its inputs.
    """
    usual, other = (_call(Recipe("normal", batch=2, seed=seed), found) for seed in (1, 2))
    with torch.inference_mode():
        try:
            answer = model(*usual.values())
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise UsageError(
                f"{member} refuses the inputs that were understood "
                f"({', '.join(map(str, found.inputs))}): {type(error).__name__}: {said}; say more "
                "of its configuration after a comma (hf-tiny:ViTModel,image_size=224), or "
                "register a function that builds it, with inputs=[TensorSpec(...)]"
            ) from error
        changed = {n: model(*{**usual, n: other[n]}.values()) for n in usual if n in UNREAD}
    return {name for name, found in changed.items() if _same(answer, found)}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(other[name], tensor) for name, tensor in one.items())


def _by_name(model: nn.Module, names: Sequence[str]) -> ByName:
    """The model with its inputs by name; what an encoder said goes in as if it had been asked."""
    past = [name for name in names if name.startswith(f"{PAST}.")]
    beside = ENCODER_STATES in names
    plans: dict[str, Any] = {n: Slot(n) for n in names if n not in past and n != ENCODER_STATES}
    if beside:
        plans["encoder_outputs"] = ContainerSlot(tuple, ((0, Slot(ENCODER_STATES)),), named=False)
    if past:
        cache = cache_in(inspect.signature(model.forward).parameters)
        plans[cache] = CacheSlot(nested=beside)
    left_out = ("encoder_last_hidden_state",) if beside else ()
    return ByName(model, names, ((), {**plans, "return_dict": True}), left_out)


NORM_BIAS = 0.2


@torch.no_grad()
def awaken(model: nn.Module) -> None:
    """Seeded weights of which each moves the outputs, in place of what training starts from.

    Layers keep the size of what passes through them (normal numbers over the root of their inputs),
    norms have gains beside 1 and biases, tables of embeddings have rows of size 1.
    """
    for part in model.modules():
        inner = dict(part.named_parameters(recurse=False))
        weight, bias = inner.get("weight"), inner.get("bias")
        _awaken_buffers(dict(part.named_buffers(recurse=False)))
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


def _awaken_buffers(buffers: dict[str, torch.Tensor]) -> None:
    """Statistics of norms, also of those that are frozen, and codebooks that are empty."""
    if "running_var" in buffers:
        for name in sorted(buffers.keys() & {"weight", "running_var"}):
            buffers[name].uniform_(*NORM_GAIN)
        for name in sorted(buffers.keys() & {"bias", "running_mean"}):
            buffers[name].normal_(0.0, NORM_BIAS)
    for table in buffers.values():
        if table.ndim > 1 and table.is_floating_point() and not table.any():
            table.normal_()
