"""Configurations of Hugging Face's transformers made tiny: two layers, a few dozen features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx_conformance.core.errors import UsageError

VOCABULARY = 99
# What configurations call their sizes, and the small one that each gets; others stay.
SIZES: dict[str, int] = {
    **dict.fromkeys(("vocab_size", "entity_vocab_size"), VOCABULARY),
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "encoder_hidden_size",
         "decoder_hidden_size", "word_embed_proj_dim", "mask_feature_size"), 32,
    ),
    **dict.fromkeys(("embed_dim", "embedding_size", "projection_dim", "lstm_dim"), 16),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
         "decoder_layers", "num_decoder_layers", "num_encoder_layers", "num_block_records"), 2,
    ),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads",
         "decoder_attention_heads"), 4,
    ),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "num_experts_per_tok", "top_k"), 2),
    **dict.fromkeys(
        ("head_dim", "d_kv", "attention_head_size", "qk_rope_head_dim", "qk_nope_head_dim",
         "v_head_dim", "sliding_window", "attention_window", "local_attention", "chunk_size"), 8,
    ),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "adapter_rank", "lru_width"), 32),
    **dict.fromkeys(
        ("intermediate_size", "d_ff", "d_inner", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim",
         "hidden_dim", "moe_intermediate_size", "shared_expert_intermediate_size",
         "ffn_hidden_size", "dim_feedforward"), 48,
    ),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "n_ctx", "max_target_positions", "max_seq_len"),
        64,
    ),
    "n_mamba_heads": 2,
    "mamba_headdim": 32,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    **dict.fromkeys(("mamba_d_state", "mamba_dt_rank", "time_step_rank"), 4),
    **dict.fromkeys(("attn_layer_period", "expert_layer_period", "n_group", "n_groups"), 2),
    **dict.fromkeys(
        ("attn_layer_offset", "expert_layer_offset", "first_k_dense_replace", "topk_group"), 1
    ),
    "coordinate_size": 6,  # LayoutLMv3: four of these and two of those are what is hidden
    "shape_size": 4,
    "prediction_length": 6,
    "context_length": 16,
    "patch_length": 4,
    "patch_stride": 4,
    "max_source_positions": 20,
    "num_mel_bins": 8,
    "window_size": 4,
    "codebook_size": 64,
    **dict.fromkeys(("image_size", "input_size"), 32),
    "patch_size": 8,
    "num_queries": 6,
    "state_size": 4,
    "rotary_dim": 4,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
TOGETHER: tuple[tuple[set[str], dict[str, Any]], ...] = (  # of a configuration with such fields
    (
        {"conv_kernel", "num_feat_extract_layers"},
        {"conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3),
         "num_feat_extract_layers": 2},
    ),
    ({"window_size", "depths"}, {"window_size": 2, "image_size": 64, "patch_size": 4}),
    ({"expand", "num_heads", "head_dim"}, {"num_heads": 8}),  # Mamba 2: twice what is hidden
    ({"attention_hidden_size", "attention_head_dim"},  # Zamba: twice what is hidden
     {"attention_hidden_size": 64, "attention_head_dim": 16}),
    ({"kv_lora_rank", "num_key_value_heads"}, {"num_key_value_heads": 4}),  # latent attention
    ({"width_coefficient", "hidden_dim"}, {"hidden_dim": 2560, "image_size": 64}),  # EfficientNet
    ({"q_groups", "embedding_size"}, {"embedding_size": 32}),  # SqueezeBert: as wide as hidden
    # EnCodec: frames of 8 samples in place of 320, at as many frames a second
    ({"upsampling_ratios", "target_bandwidths"},
     {"upsampling_ratios": [4, 2], "sampling_rate": 600}),
    ({"lags_sequence"}, {"prediction_length": 6, "context_length": 12, "num_time_features": 2}),
    ({"attention_types", "num_layers"}, {"attention_types": [[["global", "local"], 1]]}),
)  # fmt: skip
WIDTH, LAYERS, HEADS = 16, 1, 2  # of each stage of a network that lists its stages
IMPLEMENTATIONS = ("experts_implementation", "attn_implementation")
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


def tiny_config(kind: type[Any], overrides: dict[str, Any]) -> Any:
    """A configuration of a class, shrunk; ``overrides`` have the last word.

    Raises:
        UsageError: an override that the configuration has not, or a class that takes no such sizes.
    """
    return _tiny(kind(), overrides)


def _tiny(usual: Any, overrides: dict[str, Any]) -> Any:
    """A configuration shrunk; what it has otherwise than its class's default is kept or shrunk."""
    kind = type(usual)
    known = {name: getattr(usual, name, None) for name in usual.to_dict()}
    unknown = sorted(set(overrides) - set(known) - {*SPECIAL, *IMPLEMENTATIONS})
    if unknown:
        raise UsageError(
            f"{kind.__name__} has no '{unknown[0]}'; it has: {', '.join(sorted(known))}"
        )
    default = kind()
    small = {name: old for name, old in known.items() if old != getattr(default, name, None)}
    small |= {name: new for name, old in known.items() if (new := _small(name, old)) is not None}
    small |= _of_layers(known)
    for name, part in known.items():
        if hasattr(part, "sub_configs"):  # a configuration of its own, of a part
            small[name] = _tiny_part(part).to_dict()
    for fields, values in TOGETHER:
        small |= values if known.keys() >= fields else {}
    try:
        return kind(**{**small, **overrides})
    except Exception as error:  # validators raise errors of their own libraries
        said = " ".join(str(error).split())
        raise UsageError(f"{kind.__name__} cannot be made tiny: {said}") from error


def _of_layers(known: Mapping[str, Any]) -> dict[str, Any]:
    """Where layers differ by kind: one layer of each kind at least, and two in all.

    Where several hand on what they found: as many as do so.
    """
    count, handed = known.get("num_hidden_layers"), list(known.get("out_features") or ())
    if count and len(handed) > 1 and handed[-1] == f"stage{count}":
        places = list(range(1, len(handed) + 1))
        stages = [f"stage{place}" for place in places]
        return {"num_hidden_layers": len(places), "out_features": stages, "out_indices": places}
    if count and known.get("backbone_out_indices"):
        taken = len(known["backbone_out_indices"])
        return {"num_hidden_layers": taken, "backbone_out_indices": list(range(taken))}
    listed = {
        name: value
        for name, value in known.items()
        if isinstance(value, list) and len(value) == count and isinstance(value[0], str)
    }
    kinds: list[tuple[str, ...]] = list(zip(*listed.values(), strict=True))
    if not kinds:
        return {}
    firsts = sorted({kinds.index(one) for one in kinds})
    shared = [place for place, one in enumerate(kinds) if "hybrid" in one]  # with the next such
    chosen = sorted({*firsts, *shared[:2]}) if len(firsts) > 1 else [0, 1]
    return {
        "num_hidden_layers": len(chosen),
        **{name: [value[place] for place in chosen] for name, value in listed.items()},
    }


def _tiny_part(part: Any) -> Any:
    """A part's configuration; in place of a network of timm's, of one size, a small ResNet."""
    if type(part).__name__ != "TimmBackboneConfig":
        return _tiny(part, {})
    from transformers import ResNetConfig

    return tiny_config(ResNetConfig, {"out_features": ["stage4"]})


def _small(name: str, old: Any) -> Any:
    """The small value of a field of the configuration; None to leave it."""
    if name in SPECIAL:
        return SPECIAL[name] if isinstance(old, int) and old >= 0 else None
    if name == "vocab_size" and old is None:
        return VOCABULARY
    if isinstance(old, bool):
        return None
    if isinstance(old, int) and name in SIZES and old > 0:
        return min(old, SIZES[name])
    if isinstance(old, (list, tuple)) and old and all(isinstance(one, int) for one in old):
        return _small_list(name, list(old))
    return None


def _small_list(name: str, old: list[int]) -> list[int] | None:
    """Of one number a stage: one layer each, widths that grow, heads that divide them."""
    if name in ("depths", "layer_depths", "num_blocks"):
        return [LAYERS] * len(old)
    if name in ("hidden_sizes", "encoder_hidden_sizes", "neck_hidden_sizes"):
        return [min(one, WIDTH * (place + 1)) for place, one in enumerate(old)]
    if name in ("num_heads", "num_attention_heads"):
        return [HEADS] * len(old)
    if name in ("image_size", "patch_size"):
        return [SIZES[name]] * len(old)
    return None
