"""Image and sound models of transformers, in tiny configurations with random weights."""

import transformers as hf
from torch import nn

from onnx_conformance import Integers, Mask, TensorSpec, register_model

IMAGE = [TensorSpec("pixel_values", ("batch", 3, 32, 32))]
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}


class First(nn.Module):
    """The first output of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model(pixel_values)[0]


@register_model("vit", inputs=IMAGE)
def vit():
    return hf.ViTForImageClassification(hf.ViTConfig(**VISION, num_labels=5))


@register_model("deit", inputs=IMAGE)
def deit():
    return First(hf.DeiTModel(hf.DeiTConfig(**VISION)))


@register_model("beit", inputs=IMAGE)
def beit():
    return First(hf.BeitModel(hf.BeitConfig(**VISION, use_relative_position_bias=True)))


@register_model("dinov2", inputs=IMAGE)
def dinov2():
    return First(hf.Dinov2Model(hf.Dinov2Config(**VISION)))


@register_model(
    "dinov2_any_size",
    inputs=[TensorSpec("pixel_values", ("batch", 3, "height", "width"))],
    axes={"height": (16, 64, 8), "width": (16, 64, 8)},
)
def dinov2_any_size():
    return First(hf.Dinov2Model(hf.Dinov2Config(**VISION)))


@register_model("swin", inputs=IMAGE)
def swin():
    config = hf.SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    )
    return First(hf.SwinModel(config))


@register_model("swin_v2", inputs=IMAGE)
def swin_v2():
    config = hf.Swinv2Config(
        image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    )
    return First(hf.Swinv2Model(config))


@register_model("segformer", inputs=[TensorSpec("pixel_values", ("batch", 3, 64, 64))])
def segformer():
    config = hf.SegformerConfig(
        num_encoder_blocks=4,
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=16,
        num_labels=3,
    )
    return First(hf.SegformerForSemanticSegmentation(config))


@register_model(
    "mobilevit", inputs=[TensorSpec("pixel_values", ("batch", 3, 64, 64))], calibrate=True
)
def mobilevit():
    config = hf.MobileViTConfig(
        image_size=64,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 16, 24, 24, 32, 32],
        num_labels=3,
    )
    return First(hf.MobileViTForImageClassification(config))


@register_model("convnext_v2", inputs=IMAGE)
def convnext_v2():
    config = hf.ConvNextV2Config(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_labels=3)
    return First(hf.ConvNextV2ForImageClassification(config))


class Clip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        text = {
            "vocab_size": 99,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 24,
            "eos_token_id": 2,
        }
        config = hf.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
        self.model = hf.CLIPModel(config)

    def forward(self, input_ids, attention_mask, pixel_values):
        out = self.model(input_ids, pixel_values, attention_mask)
        return {"text": out.text_embeds, "image": out.image_embeds}


@register_model(
    "clip",
    inputs=[
        TensorSpec("input_ids", ("texts", 12), "int64", domain=Integers(3, 99)),
        TensorSpec("attention_mask", ("texts", 12), "int64", domain=Mask()),
        TensorSpec("pixel_values", ("images", 3, 32, 32)),
    ],
)
def clip():
    return Clip()


class Sound(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_values):
        return self.model(input_values)[0]


SPEECH = {
    "vocab_size": 20,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
WAVE = [TensorSpec("input_values", ("batch", "samples"))]


@register_model("wav2vec2", inputs=WAVE, axes={"samples": (200, 800)})
def wav2vec2():
    return Sound(hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(**SPEECH)))


@register_model("hubert", inputs=WAVE, axes={"samples": (200, 800)})
def hubert():
    return Sound(hf.HubertForCTC(hf.HubertConfig(**SPEECH)))


class WhisperEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = hf.WhisperConfig(
            vocab_size=99,
            num_mel_bins=8,
            d_model=32,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            max_source_positions=20,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
        self.encoder = hf.WhisperModel(config).encoder

    def forward(self, input_features):
        return self.encoder(input_features).last_hidden_state


@register_model("whisper_encoder", inputs=[TensorSpec("input_features", ("batch", 8, 40))])
def whisper_encoder():
    return WhisperEncoder()


@register_model(
    "audio_spectrogram_transformer", inputs=[TensorSpec("input_values", ("batch", 32, 16))]
)
def audio_spectrogram_transformer():
    config = hf.ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        patch_size=8,
        frequency_stride=4,
        time_stride=4,
        max_length=32,
        num_mel_bins=16,
    )
    return Sound(hf.ASTModel(config))
