"""torchvision's models beside its classifiers, at small sizes, with random weights."""

import torch
import torchvision
from torch import nn

from onnx_conformance import TensorSpec, register_model

M = torchvision.models
IMAGE = [TensorSpec("image", ("batch", 3, 64, 64))]


class Out(nn.Module):
    """What a segmentation model answers under 'out'."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model(image)["out"]


@register_model("fcn", inputs=IMAGE, calibrate=True)
def fcn():
    return Out(M.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=4))


@register_model("lraspp", inputs=IMAGE, calibrate=True)
def lraspp():
    return M.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    )


@register_model("deeplab", inputs=IMAGE, calibrate=True)
def deeplab():
    return Out(
        M.segmentation.deeplabv3_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=4
        )
    )


@register_model(
    "video_resnet", inputs=[TensorSpec("clip", ("batch", 3, 4, 32, 32))], calibrate=True
)
def video_resnet():
    return M.video.r3d_18(weights=None, num_classes=5)


@register_model(
    "raft",
    inputs=[TensorSpec("a", ("batch", 3, 128, 128)), TensorSpec("b", ("batch", 3, 128, 128))],
)
def raft():
    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = M.optical_flow.raft_small(weights=None)

        def forward(self, a, b):
            return self.model(a, b, num_flow_updates=2)[-1]

    return Flow()


@register_model("preprocessing", inputs=[TensorSpec("image", ("batch", 3, 40, 48), "uint8")])
def preprocessing():
    class Prepare(nn.Module):
        def forward(self, image):
            x = torchvision.transforms.functional.resize(
                image.float() / 255, [24, 24], antialias=False
            )
            x = torchvision.transforms.functional.center_crop(x, [20, 20])
            return torchvision.transforms.functional.normalize(x, [0.5] * 3, [0.2] * 3)

    return Prepare()


@register_model("stochastic_depth_block", inputs=IMAGE)
def stochastic_depth_block():
    return nn.Sequential(
        torchvision.ops.Conv2dNormActivation(3, 8, stride=2),
        torchvision.ops.SqueezeExcitation(8, 4),
        torchvision.ops.StochasticDepth(0.1, "row"),
    )


@register_model("feature_pyramid", inputs=IMAGE)
def feature_pyramid():
    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1)
            self.fpn = torchvision.ops.FeaturePyramidNetwork([8, 12], 6)

        def forward(self, image):
            a = torch.relu(self.a(image))
            return self.fpn({"fine": a, "coarse": torch.relu(self.b(a))})

    return Pyramid()


SMALL = [TensorSpec("image", ("batch", 3, 32, 32))]


@register_model("vision_transformer", inputs=SMALL)
def vision_transformer():
    net = M.VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=5)
    nn.init.normal_(net.heads.head.weight, std=0.2)  # 0 as torchvision makes it
    return net


@register_model("swin_transformer", inputs=SMALL)
def swin_transformer():
    return M.SwinTransformer([2, 2], 16, [2, 2], [2, 4], [4, 4], num_classes=5)


@register_model("swin_transformer_v2", inputs=SMALL)
def swin_transformer_v2():
    block = M.swin_transformer.SwinTransformerBlockV2
    merge = M.swin_transformer.PatchMergingV2
    return M.SwinTransformer(
        [2, 2], 16, [2, 2], [2, 4], [4, 4], num_classes=5, block=block, downsample_layer=merge
    )


@register_model("maxvit", inputs=[TensorSpec("image", ("batch", 3, 64, 64))], calibrate=True)
def maxvit():
    return M.MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=5)


@register_model("densenet", inputs=SMALL, calibrate=True)
def densenet():
    return M.DenseNet(8, (2, 2, 2), 16, num_classes=5)


@register_model("googlenet", inputs=IMAGE, calibrate=True)
def googlenet():
    return M.googlenet(weights=None, num_classes=5, aux_logits=True, init_weights=False)


@register_model("squeezenet", inputs=IMAGE)
def squeezenet():
    return M.squeezenet1_1(weights=None, num_classes=5)


@register_model("shufflenet", inputs=IMAGE, calibrate=True)
def shufflenet():
    return M.shufflenet_v2_x0_5(weights=None, num_classes=5)


@register_model("mnasnet", inputs=IMAGE, calibrate=True)
def mnasnet():
    return M.mnasnet0_5(weights=None, num_classes=5)


@register_model("mobilenet_v3", inputs=IMAGE, calibrate=True)
def mobilenet_v3():
    return M.mobilenet_v3_small(weights=None, num_classes=5)
