"""One small model of many of timm's families, with random weights that timm gives."""

import timm

from onnx_conformance import TensorSpec, register_model

FAMILIES = {  # name: side of the image, and what makes the family small
    "vit_tiny_patch16_224": (32, {"depth": 2, "embed_dim": 48, "num_heads": 3}),
    "swin_tiny_patch4_window7_224": (56, {"depths": (1, 1), "embed_dim": 24, "num_heads": (2, 4)}),
    "swinv2_tiny_window8_256": (64, {"depths": (2, 1), "embed_dim": 24, "num_heads": (2, 4)}),
    "convnext_atto": (32, {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
    "test_nfnet": (64, {}),
    "test_efficientnet": (64, {}),
    "mixer_s32_224": (64, {}),
    "maxvit_pico_rw_256": (64, {}),
    "levit_128s": (64, {}),
    "edgenext_xx_small": (64, {}),
    "regnetx_002": (32, {}),
    "res2net50_14w_8s": (32, {}),
    "coatnet_pico_rw_224": (64, {}),
    "beit_base_patch16_224": (32, {"depth": 2, "embed_dim": 48, "num_heads": 3}),
    "deit_tiny_distilled_patch16_224": (32, {"depth": 2, "embed_dim": 48, "num_heads": 3}),
    "xcit_nano_12_p16_224": (64, {"depth": 2}),
    "mobilevit_xxs": (64, {}),
    "mobilevitv2_050": (64, {}),
    "ghostnet_050": (32, {}),
    "lcnet_035": (32, {}),
    "tinynet_e": (32, {}),
    "hardcorenas_a": (32, {}),
    "repvgg_a0": (32, {}),
    "poolformer_s12": (64, {}),
    "gmlp_ti16_224": (32, {}),
    "resmlp_12_224": (32, {}),
    "dla46_c": (32, {}),
    "eca_resnet33ts": (32, {}),
    "volo_d1_224": (64, {}),
    "cait_xxs24_224": (32, {"depth": 2}),
    "pvt_v2_b0": (64, {}),
    "efficientformerv2_s0": (64, {}),
    "fastvit_t8": (64, {}),
    "hgnetv2_b0": (32, {}),
    "mobilenetv4_conv_small_035": (32, {}),
    "inception_next_atto": (64, {}),
    "starnet_s1": (32, {}),
    "eva02_tiny_patch14_224": (28, {"depth": 2}),
    "crossvit_9_240": (240, {}),
    "davit_tiny": (
        64,
        {"depths": (1, 1, 1, 1), "embed_dims": (16, 24, 32, 48), "num_heads": (2, 2, 4, 4)},
    ),
}


# These take the side of the image when they are built.
SIZED = (
    "vit_tiny",
    "swin",
    "mixer",
    "beit",
    "deit",
    "gmlp",
    "resmlp",
    "volo",
    "cait",
    "eva02",
    "coatnet",
    "levit",
    "efficientformer",
    "maxvit",
)


def family(name: str, side: int, sizes: dict) -> None:
    """Register one model of timm."""

    def build():
        arguments = {"img_size": side} if name.startswith(SIZED) else {}
        return timm.create_model(name, num_classes=7, **arguments, **sizes)

    inputs = [TensorSpec("image", ("batch", 3, side, side))]
    register_model(name, inputs=inputs, calibrate=True)(build)


for name, (side, sizes) in FAMILIES.items():
    family(name, side, sizes)
