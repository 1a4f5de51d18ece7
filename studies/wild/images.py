"""Networks of images, as their authors write them: diffusion, style, boxes, flow, codes."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Integers, TensorSpec, register_model

IMAGE = [TensorSpec("image", ("batch", 3, 32, 32))]


@register_model(
    "diffusion_unet",
    inputs=[
        TensorSpec("sample", ("batch", 3, 16, 16)),
        TensorSpec("timestep", ("batch",), "int64", domain=Integers(0, 999)),
        TensorSpec("context", ("batch", 5, 12)),
    ],
)
def diffusion_unet():
    class Res(nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.n1, self.c1 = nn.GroupNorm(2, a), nn.Conv2d(a, b, 3, padding=1)
            self.t = nn.Linear(16, b)
            self.n2, self.c2 = nn.GroupNorm(2, b), nn.Conv2d(b, b, 3, padding=1)
            self.skip = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

        def forward(self, x, t):
            h = self.c1(F.silu(self.n1(x))) + self.t(F.silu(t))[:, :, None, None]
            return self.skip(x) + self.c2(F.silu(self.n2(h)))

    class Cross(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.norm = nn.LayerNorm(c)
            self.attn = nn.MultiheadAttention(c, 2, kdim=12, vdim=12, batch_first=True)

        def forward(self, x, context):
            b, c, h, w = x.shape
            y = x.flatten(2).transpose(1, 2)
            y = y + self.attn(self.norm(y), context, context, need_weights=False)[0]
            return y.transpose(1, 2).reshape(b, c, h, w)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.time = nn.Sequential(nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16))
            self.inp = nn.Conv2d(3, 8, 3, padding=1)
            self.r1, self.down = Res(8, 8), nn.Conv2d(8, 8, 3, 2, 1)
            self.mid, self.x = Res(8, 12), Cross(12)
            self.up = nn.ConvTranspose2d(12, 8, 4, 2, 1)
            self.r2, self.out = Res(16, 8), nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, sample, timestep, context):
            f = torch.exp(-math.log(10000) * torch.arange(8, dtype=torch.float32) / 8)
            a = timestep[:, None].float() * f[None, :]
            t = self.time(torch.cat([torch.cos(a), torch.sin(a)], -1))
            h1 = self.r1(self.inp(sample), t)
            h = self.x(self.mid(self.down(h1), t), context)
            h = F.interpolate(h, scale_factor=2.0, mode="nearest")
            h = self.up(F.avg_pool2d(h, 2))
            return {"sample": self.out(self.r2(torch.cat([h, h1], 1), t))}

    return UNet()


@register_model("squeeze_and_excite", inputs=IMAGE)
def squeeze_and_excite():
    class SE(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.fc = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(c, 4, 1),
                nn.SiLU(),
                nn.Conv2d(4, c, 1),
                nn.Hardsigmoid(),
            )

        def forward(self, x):
            return x * self.fc(x)

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        SE(16),
        nn.Conv2d(16, 16, 5, padding=2, groups=16),
        nn.ReLU6(),
        nn.Conv2d(16, 8, 1),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


@register_model(
    "super_resolution",
    inputs=[TensorSpec("image", ("batch", 3, "height", "width"), domain=Bounded(0, 1))],
    axes={"height": (8, 32), "width": (8, 32)},
)
def super_resolution():
    class ESPCN(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 5, padding=2), nn.Conv2d(16, 12, 3, padding=1)
            self.shuffle = nn.PixelShuffle(2)

        def forward(self, image):
            base = F.interpolate(image, scale_factor=2, mode="bicubic", align_corners=False)
            return torch.clamp(base + self.shuffle(self.b(torch.tanh(self.a(image)))), 0.0, 1.0)

    return ESPCN()


@register_model("style_transfer", inputs=[TensorSpec("image", ("batch", 3, 24, 24))])
def style_transfer():
    return nn.Sequential(
        nn.ReflectionPad2d(4),
        nn.Conv2d(3, 8, 9),
        nn.InstanceNorm2d(8, affine=True),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.ReflectionPad2d(1),
        nn.Conv2d(8, 3, 3, 2),
    )


@register_model(
    "adaptive_norm",
    inputs=[TensorSpec("content", ("batch", 4, 8, 8)), TensorSpec("style", ("batch", 4, 10, 10))],
)
def adaptive_norm():
    class AdaIN(nn.Module):
        def forward(self, content, style):
            size, c = content.size(), content.flatten(2)
            s = style.flatten(2)
            m, v = s.mean(-1)[..., None, None], s.var(-1)[..., None, None] + 1e-5
            cm, cv = c.mean(-1)[..., None, None], c.var(-1)[..., None, None] + 1e-5
            return ((content - cm.expand(size)) / cv.sqrt().expand(size)) * v.sqrt() + m

    return AdaIN()


@register_model(
    "modulated_convolution",
    inputs=[TensorSpec("x", ("batch", 4, 8, 8)), TensorSpec("style", ("batch", 6))],
)
def modulated_convolution():
    class Mod(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.affine = nn.Parameter(torch.randn(5, 4, 3, 3)), nn.Linear(6, 4)

        def forward(self, x, style):
            b, c, h, w = x.shape
            s = self.affine(style) + 1
            k = self.weight[None] * s[:, None, :, None, None]
            k = k * torch.rsqrt(k.pow(2).sum([2, 3, 4], keepdim=True) + 1e-8)
            y = F.conv2d(x.reshape(1, b * c, h, w), k.reshape(b * 5, c, 3, 3), padding=1, groups=b)
            return y.reshape(b, 5, h, w)

    return Mod()


@register_model("deformable", inputs=[TensorSpec("x", ("batch", 4, 10, 10))])
def deformable():
    import torchvision

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Conv2d(4, 18, 3, padding=1)
            self.conv = torchvision.ops.DeformConv2d(4, 5, 3, padding=1)

        def forward(self, x):
            return self.conv(x, self.offset(x))

    return Net()


@register_model(
    "region_pooling",
    inputs=[
        TensorSpec("image", (1, 3, 32, 32)),
        TensorSpec("boxes", ("count", 4), domain=Bounded(0, 31)),
    ],
)
def region_pooling():
    import torchvision

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3, 2, 1), nn.Linear(6 * 16, 5)

        def forward(self, image, boxes):
            lo, hi = (
                torch.minimum(boxes[:, :2], boxes[:, 2:]),
                torch.maximum(boxes[:, :2], boxes[:, 2:]),
            )
            rois = torch.cat([torch.zeros_like(lo[:, :1]), lo, hi], 1)
            y = torchvision.ops.roi_align(self.conv(image), rois, 4, 0.5, 2, aligned=True)
            return self.head(y.flatten(1))

    return Net()


@register_model(
    "warped",
    inputs=[TensorSpec("image", ("batch", 3, 12, 14)), TensorSpec("flow", ("batch", 2, 12, 14))],
)
def warped():
    class Warp(nn.Module):
        def forward(self, image, flow):
            b, _, h, w = image.shape
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack([x, y]).float()[None] + flow
            grid = torch.stack([2 * grid[:, 0] / (w - 1) - 1, 2 * grid[:, 1] / (h - 1) - 1], -1)
            return F.grid_sample(image, grid, align_corners=True, padding_mode="border")

    return Warp()


@register_model(
    "correlation_volume",
    inputs=[TensorSpec("a", ("batch", 4, 8, 8)), TensorSpec("b", ("batch", 4, 8, 8))],
)
def correlation_volume():
    class Volume(nn.Module):
        def forward(self, a, b):
            padded = F.pad(b, (1, 1, 1, 1))
            maps = [
                (a * padded[:, :, i : i + 8, j : j + 8]).mean(1) for i in range(3) for j in range(3)
            ]
            return torch.stack(maps, 1)

    return Volume()


@register_model(
    "variational_autoencoder",
    inputs=[TensorSpec("image", ("batch", 1, 16, 16), domain=Bounded(0, 1))],
)
def variational_autoencoder():
    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(
                nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 8)
            )
            self.dec = nn.Sequential(
                nn.Linear(4, 512), nn.Unflatten(1, (8, 8, 8)), nn.ConvTranspose2d(8, 1, 4, 2, 1)
            )

        def forward(self, image):
            mean, logvar = self.enc(image).chunk(2, 1)
            z = mean + torch.randn_like(mean) * (0.5 * logvar).exp() if self.training else mean
            return self.dec(z).sigmoid(), mean, logvar

    return VAE()


@register_model("vector_quantised", inputs=[TensorSpec("x", ("batch", 4, 6, 6))])
def vector_quantised():
    class VQ(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.codes = nn.Conv2d(4, 8, 1), nn.Embedding(16, 8)
            self.out = nn.Conv2d(8, 4, 1)

        def forward(self, x):
            z = self.conv(x).permute(0, 2, 3, 1)
            flat = z.reshape(-1, 8)
            d = (
                flat.pow(2).sum(1, keepdim=True)
                - 2 * flat @ self.codes.weight.t()
                + self.codes.weight.pow(2).sum(1)
            )
            q = self.codes(d.argmin(1)).view(z.shape)
            q = z + (q - z).detach()
            return self.out(q.permute(0, 3, 1, 2))

    return VQ()


@register_model(
    "pixel_attention_mask",
    inputs=[TensorSpec("image", ("batch", 3, 16, 16)), TensorSpec("mask", ("batch", 4, 4), "bool")],
)
def pixel_attention_mask():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 8, 4, 4)
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
            self.query = nn.Parameter(torch.randn(5, 8))

        def forward(self, image, mask):
            x = self.patch(image).flatten(2).transpose(1, 2)
            q = self.query.unsqueeze(0).expand(image.shape[0], -1, -1)
            blocked = mask.flatten(1).clone()
            blocked[:, 0] = False
            return self.attn(q, x, x, key_padding_mask=blocked)

    return Net()


@register_model("detr_like", inputs=IMAGE)
def detr_like():
    class DETR(nn.Module):
        def __init__(self):
            super().__init__()
            self.back, self.proj = nn.Conv2d(3, 8, 7, 4, 3), nn.Conv2d(8, 16, 1)
            self.t = nn.Transformer(16, 2, 1, 1, 24)
            self.cls, self.box = nn.Linear(16, 5), nn.Linear(16, 4)
            self.query = nn.Parameter(torch.rand(6, 16))
            self.row, self.col = nn.Parameter(torch.rand(10, 8)), nn.Parameter(torch.rand(10, 8))

        def forward(self, image):
            h = self.proj(self.back(image).relu())
            b, _, a, w = h.shape
            pos = torch.cat(
                [
                    self.col[:w].unsqueeze(0).repeat(a, 1, 1),
                    self.row[:a].unsqueeze(1).repeat(1, w, 1),
                ],
                -1,
            )
            pos = pos.flatten(0, 1).unsqueeze(1)
            y = self.t(
                pos + 0.1 * h.flatten(2).permute(2, 0, 1), self.query.unsqueeze(1).repeat(1, b, 1)
            ).transpose(0, 1)
            return {"pred_logits": self.cls(y), "pred_boxes": self.box(y).sigmoid()}

    return DETR()


@register_model("anchor_decoder", inputs=[TensorSpec("image", (1, 3, 32, 32))])
def anchor_decoder():
    class Yolo(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.SiLU(), nn.Conv2d(8, 3 * 7, 1))
            self.register_buffer(
                "anchors", torch.tensor([[4.0, 6], [8, 8], [12, 5]]).view(1, 3, 1, 1, 2)
            )

        def forward(self, image):
            p = self.a(image)
            b, _, h, w = p.shape
            p = p.view(b, 3, 7, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack((x, y), 2).view(1, 1, h, w, 2).float()
            xy = (p[..., :2] * 2 - 0.5 + grid) * 4
            wh = (p[..., 2:4] * 2) ** 2 * self.anchors
            return torch.cat((xy, wh, p[..., 4:]), -1).view(b, -1, 7)

    return Yolo()


@register_model(
    "heat_map_peaks", inputs=[TensorSpec("image", ("batch", 3, 16, 16), domain=Bounded(0, 1))]
)
def heat_map_peaks():
    class CenterNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.off = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, image):
            heat = self.conv(image).sigmoid()
            keep = (F.max_pool2d(heat, 3, 1, 1) == heat).float()
            scores, places = (heat * keep).flatten(1).topk(5)
            cells = places % 256
            xs, ys = (cells % 16).float(), torch.div(cells, 16, rounding_mode="floor").float()
            off = self.off(image).flatten(2).gather(2, cells[:, None].expand(-1, 2, -1))
            return scores, torch.stack([xs, ys], 1) + off

    return CenterNet()


@register_model("hook_features", inputs=IMAGE)
def hook_features():
    class Extractor(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, 2), nn.ReLU()
            )
            self.kept = {}
            for name in ("1", "3"):
                dict(self.net.named_modules())[name].register_forward_hook(self.keep(name))

        def keep(self, name):
            def hook(module, args, result):
                self.kept[name] = result

            return hook

        def forward(self, image):
            self.net(image)
            return self.kept["1"].mean((2, 3)), self.kept["3"].mean((2, 3))

    return Extractor()


@register_model("kernel_by_hand", inputs=[TensorSpec("image", ("batch", 1, 12, 12))])
def kernel_by_hand():
    class Sobel(nn.Module):
        def __init__(self):
            super().__init__()
            k = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
            self.register_buffer("k", torch.stack([k, k.t()]).unsqueeze(1))

        def forward(self, image):
            g = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), self.k)
            return torch.sqrt(g.pow(2).sum(1, keepdim=True) + 1e-6), torch.atan2(g[:, :1], g[:, 1:])

    return Sobel()


@register_model("fold_unfold", inputs=[TensorSpec("x", ("batch", 2, 8, 8))])
def fold_unfold():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(8, 8)

        def forward(self, x):
            p = F.unfold(x, 2, stride=2).transpose(1, 2)
            return F.fold(self.lin(p).transpose(1, 2), (8, 8), 2, stride=2)

    return Net()
