"""Text models of Hugging Face's transformers, in tiny configurations with random weights."""

import transformers as hf
from torch import nn

from onnx_conformance import Integers, Mask, TensorSpec, register_model

IDS = TensorSpec("input_ids", ("batch", "sequence"), "int64", domain=Integers(3, 99))
MASK = TensorSpec("attention_mask", ("batch", "sequence"), "int64", domain=Mask())
AXES = {"sequence": (4, 24)}
SMALL = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
DECODER = {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "use_cache": False, "pad_token_id": 0}


class First(nn.Module):
    """The first output of a model of ids and mask."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]


@register_model("bert", inputs=[IDS, MASK], axes=AXES)
def bert():
    return First(hf.BertModel(hf.BertConfig(**SMALL)))


@register_model("bert_as_it_is", inputs=[IDS, MASK], axes=AXES)
def bert_as_it_is():
    return hf.BertForSequenceClassification(hf.BertConfig(**SMALL, num_labels=3))


@register_model("distilbert", inputs=[IDS, MASK], axes=AXES)
def distilbert():
    config = hf.DistilBertConfig(
        vocab_size=99, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=64
    )
    return First(hf.DistilBertForTokenClassification(config))


@register_model("roberta", inputs=[IDS, MASK], axes=AXES)
def roberta():
    return First(hf.RobertaForMaskedLM(hf.RobertaConfig(**SMALL)))


@register_model("electra", inputs=[IDS, MASK], axes=AXES)
def electra():
    return First(hf.ElectraModel(hf.ElectraConfig(**SMALL, embedding_size=16)))


@register_model("albert", inputs=[IDS, MASK], axes=AXES)
def albert():
    return First(hf.AlbertModel(hf.AlbertConfig(**SMALL, embedding_size=16)))


@register_model("deberta_v2", inputs=[IDS, MASK], axes=AXES)
def deberta_v2():
    config = hf.DebertaV2Config(
        **SMALL,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
    )
    return First(hf.DebertaV2Model(config))


@register_model("mpnet", inputs=[IDS, MASK], axes=AXES)
def mpnet():
    return First(hf.MPNetModel(hf.MPNetConfig(**SMALL)))


@register_model("modernbert", inputs=[IDS, MASK], axes=AXES)
def modernbert():
    config = hf.ModernBertConfig(
        **SMALL, pad_token_id=0, local_attention=8, global_attn_every_n_layers=2
    )
    return First(hf.ModernBertModel(config))


@register_model("longformer", inputs=[IDS, MASK], axes={"sequence": (8, 24, 8)})
def longformer():
    config = hf.LongformerConfig(**SMALL, attention_window=8, pad_token_id=1)
    return First(hf.LongformerModel(config))


@register_model("xlnet", inputs=[IDS, MASK], axes=AXES)
def xlnet():
    config = hf.XLNetConfig(vocab_size=99, d_model=32, n_layer=2, n_head=4, d_inner=48)
    return First(hf.XLNetModel(config))


@register_model("gpt2", inputs=[IDS, MASK], axes=AXES)
def gpt2():
    config = hf.GPT2Config(
        vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64, use_cache=False
    )
    return First(hf.GPT2LMHeadModel(config))


@register_model("opt", inputs=[IDS, MASK], axes=AXES)
def opt():
    config = hf.OPTConfig(
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
        use_cache=False,
    )
    return First(hf.OPTForCausalLM(config))


@register_model("bloom", inputs=[IDS, MASK], axes=AXES)
def bloom():
    config = hf.BloomConfig(vocab_size=99, hidden_size=32, n_layer=2, n_head=4, use_cache=False)
    return First(hf.BloomForCausalLM(config))


@register_model("gpt_neox", inputs=[IDS, MASK], axes=AXES)
def gpt_neox():
    return First(hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SMALL, use_cache=False)))


@register_model("llama", inputs=[IDS, MASK], axes=AXES)
def llama():
    return First(hf.LlamaForCausalLM(hf.LlamaConfig(**DECODER)))


@register_model("mistral", inputs=[IDS, MASK], axes=AXES)
def mistral():
    return First(hf.MistralForCausalLM(hf.MistralConfig(**DECODER, sliding_window=8)))


@register_model("qwen2", inputs=[IDS, MASK], axes=AXES)
def qwen2():
    config = {key: value for key, value in DECODER.items() if key != "head_dim"}
    return First(hf.Qwen2ForCausalLM(hf.Qwen2Config(**config)))


@register_model("qwen3", inputs=[IDS, MASK], axes=AXES)
def qwen3():
    return First(hf.Qwen3ForCausalLM(hf.Qwen3Config(**DECODER)))


@register_model("gemma", inputs=[IDS, MASK], axes=AXES)
def gemma():
    return First(hf.GemmaForCausalLM(hf.GemmaConfig(**DECODER)))


@register_model("phi", inputs=[IDS, MASK], axes=AXES)
def phi():
    config = {key: value for key, value in DECODER.items() if key != "head_dim"}
    return First(hf.PhiForCausalLM(hf.PhiConfig(**config)))


def _mixtral(experts):
    config = hf.MixtralConfig(
        **DECODER, num_local_experts=4, num_experts_per_tok=2, experts_implementation=experts
    )
    return First(hf.MixtralForCausalLM(config))


@register_model("mixtral", inputs=[IDS, MASK], axes=AXES)
def mixtral():
    return _mixtral("grouped_mm")  # as it is by default


@register_model("mixtral_batched", inputs=[IDS, MASK], axes=AXES)
def mixtral_batched():
    return _mixtral("batched_mm")


@register_model("mixtral_looping", inputs=[IDS, MASK], axes=AXES)
def mixtral_looping():
    return _mixtral("eager")


@register_model("mamba", inputs=[IDS], axes=AXES)
def mamba():
    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = hf.MambaConfig(
                vocab_size=99, hidden_size=16, state_size=4, num_hidden_layers=1, use_cache=False
            )
            self.model = hf.MambaForCausalLM(config)

        def forward(self, input_ids):
            return self.model(input_ids).logits

    return Scores()


T5 = {
    "vocab_size": 99,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "use_cache": False,
}


@register_model("t5_encoder", inputs=[IDS, MASK], axes=AXES)
def t5_encoder():
    return First(hf.T5EncoderModel(hf.T5Config(**T5)))


class Translate(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, decoder_input_ids):
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids
        ).logits


TARGET = TensorSpec("decoder_input_ids", ("batch", "target"), "int64", domain=Integers(3, 99))
BOTH = {**AXES, "target": (1, 12)}


@register_model("t5", inputs=[IDS, MASK, TARGET], axes=BOTH)
def t5():
    return Translate(hf.T5ForConditionalGeneration(hf.T5Config(**T5)))


@register_model("bart", inputs=[IDS, MASK, TARGET], axes=BOTH)
def bart():
    config = hf.BartConfig(
        vocab_size=99,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        use_cache=False,
    )
    return Translate(hf.BartForConditionalGeneration(config))
