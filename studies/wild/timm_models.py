"""One small model of many of timm's families, with calibrated random weights."""

import timm

from onnx_conformance import TensorSpec, register_model


def image(side):
    return [TensorSpec("image", ("batch", 3, side, side))]


@register_model("vit_tiny_patch16_224", inputs=image(32), calibrate=True)
def vit_tiny_patch16_224():
    return timm.create_model(
        "vit_tiny_patch16_224", num_classes=7, img_size=32, depth=2, embed_dim=48, num_heads=3
    )


@register_model("swin_tiny_patch4_window7_224", inputs=image(56), calibrate=True)
def swin_tiny_patch4_window7_224():
    return timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=7,
        img_size=56,
        depths=(1, 1),
        embed_dim=24,
        num_heads=(2, 4),
    )


@register_model("swinv2_tiny_window8_256", inputs=image(64), calibrate=True)
def swinv2_tiny_window8_256():
    return timm.create_model(
        "swinv2_tiny_window8_256",
        num_classes=7,
        img_size=64,
        depths=(2, 1),
        embed_dim=24,
        num_heads=(2, 4),
    )


@register_model("convnext_atto", inputs=image(32), calibrate=True)
def convnext_atto():
    return timm.create_model(
        "convnext_atto", num_classes=7, depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)
    )


@register_model("test_nfnet", inputs=image(64), calibrate=True)
def test_nfnet():
    return timm.create_model("test_nfnet", num_classes=7)


@register_model("test_efficientnet", inputs=image(64), calibrate=True)
def test_efficientnet():
    return timm.create_model("test_efficientnet", num_classes=7)


@register_model("mixer_s32_224", inputs=image(64), calibrate=True)
def mixer_s32_224():
    return timm.create_model("mixer_s32_224", num_classes=7, img_size=64)


@register_model("maxvit_pico_rw_256", inputs=image(64), calibrate=True)
def maxvit_pico_rw_256():
    return timm.create_model("maxvit_pico_rw_256", num_classes=7, img_size=64)


@register_model("levit_128s", inputs=image(64), calibrate=True)
def levit_128s():
    return timm.create_model("levit_128s", num_classes=7, img_size=64)


@register_model("edgenext_xx_small", inputs=image(64), calibrate=True)
def edgenext_xx_small():
    return timm.create_model("edgenext_xx_small", num_classes=7)


@register_model("regnetx_002", inputs=image(32), calibrate=True)
def regnetx_002():
    return timm.create_model("regnetx_002", num_classes=7)


@register_model("res2net50_14w_8s", inputs=image(32), calibrate=True)
def res2net50_14w_8s():
    return timm.create_model("res2net50_14w_8s", num_classes=7)


@register_model("coatnet_pico_rw_224", inputs=image(64), calibrate=True)
def coatnet_pico_rw_224():
    return timm.create_model("coatnet_pico_rw_224", num_classes=7, img_size=64)


@register_model("beit_base_patch16_224", inputs=image(32), calibrate=True)
def beit_base_patch16_224():
    return timm.create_model(
        "beit_base_patch16_224", num_classes=7, img_size=32, depth=2, embed_dim=48, num_heads=3
    )


@register_model("deit_tiny_distilled_patch16_224", inputs=image(32), calibrate=True)
def deit_tiny_distilled_patch16_224():
    return timm.create_model(
        "deit_tiny_distilled_patch16_224",
        num_classes=7,
        img_size=32,
        depth=2,
        embed_dim=48,
        num_heads=3,
    )


@register_model("xcit_nano_12_p16_224", inputs=image(64), calibrate=True)
def xcit_nano_12_p16_224():
    return timm.create_model("xcit_nano_12_p16_224", num_classes=7, depth=2)


@register_model("mobilevit_xxs", inputs=image(64), calibrate=True)
def mobilevit_xxs():
    return timm.create_model("mobilevit_xxs", num_classes=7)


@register_model("mobilevitv2_050", inputs=image(64), calibrate=True)
def mobilevitv2_050():
    return timm.create_model("mobilevitv2_050", num_classes=7)


@register_model("ghostnet_050", inputs=image(32), calibrate=True)
def ghostnet_050():
    return timm.create_model("ghostnet_050", num_classes=7)


@register_model("lcnet_035", inputs=image(32), calibrate=True)
def lcnet_035():
    return timm.create_model("lcnet_035", num_classes=7)


@register_model("tinynet_e", inputs=image(32), calibrate=True)
def tinynet_e():
    return timm.create_model("tinynet_e", num_classes=7)


@register_model("hardcorenas_a", inputs=image(32), calibrate=True)
def hardcorenas_a():
    return timm.create_model("hardcorenas_a", num_classes=7)


@register_model("repvgg_a0", inputs=image(32), calibrate=True)
def repvgg_a0():
    return timm.create_model("repvgg_a0", num_classes=7)


@register_model("poolformer_s12", inputs=image(64), calibrate=True)
def poolformer_s12():
    return timm.create_model("poolformer_s12", num_classes=7)


@register_model("gmlp_ti16_224", inputs=image(32), calibrate=True)
def gmlp_ti16_224():
    return timm.create_model("gmlp_ti16_224", num_classes=7, img_size=32)


@register_model("resmlp_12_224", inputs=image(32), calibrate=True)
def resmlp_12_224():
    return timm.create_model("resmlp_12_224", num_classes=7, img_size=32)


@register_model("dla46_c", inputs=image(32), calibrate=True)
def dla46_c():
    return timm.create_model("dla46_c", num_classes=7)


@register_model("eca_resnet33ts", inputs=image(32), calibrate=True)
def eca_resnet33ts():
    return timm.create_model("eca_resnet33ts", num_classes=7)


@register_model("volo_d1_224", inputs=image(64), calibrate=True)
def volo_d1_224():
    return timm.create_model("volo_d1_224", num_classes=7, img_size=64)


@register_model("cait_xxs24_224", inputs=image(32), calibrate=True)
def cait_xxs24_224():
    return timm.create_model("cait_xxs24_224", num_classes=7, img_size=32, depth=2)


@register_model("pvt_v2_b0", inputs=image(64), calibrate=True)
def pvt_v2_b0():
    return timm.create_model("pvt_v2_b0", num_classes=7)


@register_model("efficientformerv2_s0", inputs=image(64), calibrate=True)
def efficientformerv2_s0():
    return timm.create_model("efficientformerv2_s0", num_classes=7, img_size=64)


@register_model("fastvit_t8", inputs=image(64), calibrate=True)
def fastvit_t8():
    return timm.create_model("fastvit_t8", num_classes=7)


@register_model("hgnetv2_b0", inputs=image(32), calibrate=True)
def hgnetv2_b0():
    return timm.create_model("hgnetv2_b0", num_classes=7)


@register_model("mobilenetv4_conv_small_035", inputs=image(32), calibrate=True)
def mobilenetv4_conv_small_035():
    return timm.create_model("mobilenetv4_conv_small_035", num_classes=7)


@register_model("inception_next_atto", inputs=image(64), calibrate=True)
def inception_next_atto():
    return timm.create_model("inception_next_atto", num_classes=7)


@register_model("starnet_s1", inputs=image(32), calibrate=True)
def starnet_s1():
    return timm.create_model("starnet_s1", num_classes=7)


@register_model("eva02_tiny_patch14_224", inputs=image(28), calibrate=True)
def eva02_tiny_patch14_224():
    return timm.create_model("eva02_tiny_patch14_224", num_classes=7, img_size=28, depth=2)


@register_model("crossvit_9_240", inputs=image(240), calibrate=True)
def crossvit_9_240():
    return timm.create_model("crossvit_9_240", num_classes=7)


@register_model("davit_tiny", inputs=image(64), calibrate=True)
def davit_tiny():
    return timm.create_model(
        "davit_tiny",
        num_classes=7,
        depths=(1, 1, 1, 1),
        embed_dims=(16, 24, 32, 48),
        num_heads=(2, 2, 4, 4),
    )
