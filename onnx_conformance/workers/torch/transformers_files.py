"""Parts of transformers models as exporters lay them out in files: one file, one part.

``encoder_model``, ``decoder_model`` (the first call), ``decoder_with_past_model`` (later calls);
their inputs are those that the file names, in its order.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from onnx_conformance.core.domains import Integers, Mask
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.file_roles import NEXT, POSITIONS, STEPS
from onnx_conformance.core.spec import Axes, Axis, InputSpecs, TensorSpec
from onnx_conformance.workers.torch.calling_convention import PAST, PRESENT, cache_of, of_cache
from onnx_conformance.workers.torch.transformers_inputs import (
    ENCODER_STATES,
    FIRST_TOKEN,
    LENGTHS,
    cache_in,
    inputs_of_whole,
    source_of,
    token_ids,
    width_of,
)

OWN, CROSS = "decoder", "encoder"  # in names of caches: of what was said, of what was heard
IDS = ("input_ids", "decoder_input_ids")


class DecoderFile(nn.Module):
    """A decoder that takes tensors in the order of a file's inputs, and gives its cache by name.

    Args:
        encoded: whether it listens to an encoder; its cache is then of two kinds.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], *, encoded: bool) -> None:
        super().__init__()
        self.model, self.names, self.encoded = model, tuple(names), encoded

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        tensors = dict(zip(self.names, inputs, strict=True))
        ids = next(tensors[name] for name in IDS if name in tensors)
        if self.encoded:
            answer = self._beside_encoder(ids, tensors)
        else:
            beside = {n: tensors[n] for n in ("attention_mask", POSITIONS) if n in tensors}
            past = cache_of(tensors)
            answer = self.model(ids, **{cache_name(self.model): past}, use_cache=True, **beside)
        found = {"logits": answer[0]}
        cache = answer.get(cache_in(answer))
        return found | dict(self._present(cache, tensors))

    def _beside_encoder(self, ids: torch.Tensor, tensors: dict[str, torch.Tensor]) -> Any:
        from transformers import EncoderDecoderCache

        own, cross = cache_of(tensors, f"{OWN}."), cache_of(tensors, f"{CROSS}.")
        heard = tensors.get(ENCODER_STATES)
        if heard is None:  # later calls read the cache alone
            key = tensors[f"{PAST}.0.{CROSS}.key"]
            heard = key[:, 0, :, :1].expand(-1, -1, width_of(self.model.config))
        mask = tensors.get("encoder_attention_mask", tensors.get("attention_mask"))
        masked = {} if mask is None else {"attention_mask": mask}
        both = {cache_name(self.model): EncoderDecoderCache(own, cross), **masked}
        return self.model(encoder_outputs=(heard,), decoder_input_ids=ids, use_cache=True, **both)

    def _present(
        self, cache: Any, tensors: dict[str, torch.Tensor]
    ) -> Iterator[tuple[str, torch.Tensor]]:
        if not self.encoded:
            yield from of_cache(PRESENT, cache)
            return
        known = any(f".{CROSS}." in name for name in tensors)
        parts = [(OWN, cache.self_attention_cache)]
        parts += [] if known else [(CROSS, cache.cross_attention_cache)]
        for kind, part in parts:
            for name, tensor in of_cache("", part):
                _, layer, which = name.split(".")
                yield f"{PRESENT}.{layer}.{kind}.{which}", tensor


def cache_name(model: Any) -> str:
    """What ``forward`` calls its cache."""
    return cache_in(inspect.signature(model.forward).parameters)


def of_file(
    member: str, model: Any, part: str, names: Sequence[str]
) -> tuple[DecoderFile, InputSpecs]:
    """The part of a model that a decoder's file stands for.

    Args:
        part: the file's role; a decoder with its past alone is never given an empty one.
        names: what the file takes.

    Raises:
        UsageError: one of the names is none that is known here.
    """
    encoded = hasattr(model, "get_encoder") and bool(model.config.is_encoder_decoder)
    later = any(name.startswith(f"{PAST}.") for name in names)
    caches = _sizes(model, encoded=encoded) if later else {}
    specs = []
    for name in names:
        spec = _spec(model, name, caches, encoded=encoded, later=later)
        if spec is None:
            raise UsageError(
                f"{member}: its file ({part}) takes '{name}', which is no input that is known "
                "here; register a function that builds what the file stands for, and judge the "
                "file by it: --models-from=FILE.py --artifact=FILE.onnx"
            )
        specs.append(spec)
    least = 1 if part == NEXT else 0
    lengths = {**LENGTHS, "past": Axis(least, LENGTHS["past"].high)}
    used = {word for spec in specs for dim in spec.shape for word in str(dim).split("+")}
    axes: Axes = tuple((name, axis) for name, axis in lengths.items() if name in used)
    return DecoderFile(model, names, encoded=encoded), InputSpecs(tuple(specs), axes)


def _spec(
    model: Any, name: str, caches: dict[str, TensorSpec], *, encoded: bool, later: bool
) -> TensorSpec | None:
    config = model.config
    source = source_of(config)
    if name in IDS:
        return token_ids(name, ("batch", "new"), config)
    if name == ENCODER_STATES and encoded:
        return TensorSpec(name, ("batch", source, width_of(config)))
    if name == "encoder_attention_mask" and encoded:
        return TensorSpec(name, ("batch", source), "int64", domain=Mask())
    if name == "attention_mask" and not encoded:
        length = "past+new" if later else "new"
        return TensorSpec(name, ("batch", length), "int64", domain=Mask(side="left"))
    if name == POSITIONS and not encoded:
        return _positions(config, "new")
    return caches.get(name)


def _positions(config: Any, axis: str) -> TensorSpec:
    places = Integers(0, int(getattr(config, "max_position_embeddings", 0) or 64))
    return TensorSpec(POSITIONS, ("batch", axis), "int64", domain=places)


def _sizes(model: Any, *, encoded: bool) -> dict[str, TensorSpec]:
    """The specs of the caches that a later call takes, by name."""
    ids = torch.full((1, 2), FIRST_TOKEN)
    config, source = model.config, source_of(model.config)
    heard = torch.zeros(1, source if isinstance(source, int) else 4, width_of(config))
    tensors = {"input_ids": ids, **({ENCODER_STATES: heard} if encoded else {})}
    with torch.inference_mode():
        found = DecoderFile(model, tuple(tensors), encoded=encoded)(*tensors.values())
    specs = {}
    for name, tensor in found.items():
        if name.startswith(PRESENT):
            length = source if f".{CROSS}." in name else "past"
            shape = ("batch", tensor.shape[1], length, tensor.shape[3])
            old = name.replace(PRESENT, PAST, 1)
            specs[old] = TensorSpec(old, shape)
    return specs


def of_chain(model: Any, names: Sequence[str]) -> InputSpecs:
    """The inputs of the whole model where its files are called in a row, one token at a time.

    Args:
        names: ``position_ids`` where the files take them.
    """
    inputs, axes = inputs_of_whole(model)
    sequence = "target" if any(spec.name == "decoder_input_ids" for spec in inputs) else "sequence"
    longer = tuple(
        (n, Axis(max(axis.low, STEPS + 1), axis.high) if n == sequence else axis)
        for n, axis in axes
    )
    numbered = (_positions(model.config, sequence),) if POSITIONS in names else ()
    return InputSpecs((*inputs, *numbered), longer)
