"""Configurations of Hugging Face's transformers made tiny: two layers, a few dozen features."""

from __future__ import annotations

from typing import Any

from onnx_conformance.core.errors import UsageError

# What configurations call their sizes, and the small one that each gets; others stay.
SIZES: dict[str, int] = {
    **dict.fromkeys(("vocab_size", "entity_vocab_size", "codebook_size"), 99),
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "encoder_hidden_size",
         "decoder_hidden_size", "word_embed_proj_dim", "mask_feature_size", "feature_size"), 32,
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
    **dict.fromkeys(("head_dim", "d_kv", "attention_head_size"), 8),
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
    "max_source_positions": 20,
    "num_mel_bins": 8,
    "image_size": 32,
    "patch_size": 8,
    "num_queries": 6,
    "state_size": 4,
    "window_size": 4,
    "rotary_dim": 4,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
WAVE = {"conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3),
        "num_feat_extract_layers": 2}  # fmt: skip
WIDTH, LAYERS, HEADS = 16, 1, 2  # of each stage of a network that lists its stages
IMPLEMENTATIONS = ("experts_implementation", "attn_implementation")
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


def tiny_config(kind: type[Any], overrides: dict[str, Any]) -> Any:
    """A configuration of a class, shrunk; ``overrides`` have the last word.

    Raises:
        UsageError: an override that the configuration has not, or a class that takes no such sizes.
    """
    usual = kind()
    known = {name: getattr(usual, name, None) for name in usual.to_dict()}
    unknown = sorted(set(overrides) - set(known) - {*SPECIAL, *IMPLEMENTATIONS})
    if unknown:
        raise UsageError(
            f"{kind.__name__} has no '{unknown[0]}'; it has: {', '.join(sorted(known))}"
        )
    small = {name: new for name, old in known.items() if (new := _small(name, old)) is not None}
    for name, part in known.items():
        if hasattr(part, "sub_configs"):  # a configuration of its own, of a part
            small[name] = _tiny_part(part).to_dict()
    if "conv_kernel" in known and "num_feat_extract_layers" in known:
        small |= WAVE
    try:
        return kind(**{**small, **overrides})
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"{kind.__name__} cannot be made tiny: {error}") from error


def _tiny_part(part: Any) -> Any:
    """A part's configuration; in place of a network of timm's, of one size, a small ResNet."""
    if type(part).__name__ != "TimmBackboneConfig":
        return tiny_config(type(part), {})
    from transformers import ResNetConfig

    return tiny_config(ResNetConfig, {"out_features": ["stage4"]})


def _small(name: str, old: Any) -> Any:
    """The small value of a field of the configuration; None to leave it."""
    if name in SPECIAL:
        return SPECIAL[name] if isinstance(old, int) and old >= 0 else None
    if isinstance(old, bool):
        return None
    if isinstance(old, int) and name in SIZES:
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
