"""Vision models as strangers write them: blocks, detection heads, preprocessing, generators."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, TensorSpec, register_model

IMG = [TensorSpec("image", ("batch", 3, 32, 32), domain=Bounded(0, 1))]


class LayerNorm2d(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(c) + 0.1 * torch.randn(c)),
            nn.Parameter(torch.randn(c) * 0.1),
        )

    def forward(self, x):
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class GRN(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gamma, self.beta = (
            nn.Parameter(torch.randn(1, 1, 1, c) * 0.3),
            nn.Parameter(torch.randn(1, 1, 1, c) * 0.3),
        )

    def forward(self, x):
        gx = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        nx = gx / (gx.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma * (x * nx) + self.beta + x


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 4, 4), LayerNorm2d(12))
        self.dw = nn.Conv2d(12, 12, 7, padding=3, groups=12)
        self.norm = nn.LayerNorm(12, eps=1e-6)
        self.a, self.grn, self.b = nn.Linear(12, 48), GRN(48), nn.Linear(48, 12)
        self.scale = nn.Parameter(torch.full((12,), 1e-6))
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.dw(x).permute(0, 2, 3, 1)
        y = self.b(self.grn(F.gelu(self.a(self.norm(y))))) * self.scale
        x = x + y.permute(0, 3, 1, 2)
        return self.head(x.mean([-2, -1]))


@register_model("convnext_layer_scale", inputs=IMG)
def convnext_layer_scale():
    return ConvNeXt()


class Window(nn.Module):
    """Shifted-window attention with an additive mask buffer and a relative bias table."""

    def __init__(self, dim=16, ws=4, heads=4, res=8, shift=2):
        super().__init__()
        self.ws, self.heads, self.shift, self.res = ws, heads, shift, res
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.randn((2 * ws - 1) ** 2, heads) * 0.2)
        c = torch.stack(torch.meshgrid(torch.arange(ws), torch.arange(ws), indexing="ij")).flatten(
            1
        )
        rel = (c[:, :, None] - c[:, None, :]).permute(1, 2, 0) + ws - 1
        self.register_buffer("index", rel[..., 0] * (2 * ws - 1) + rel[..., 1])
        m = torch.zeros(1, res, res, 1)
        cnt = 0
        for h in (slice(0, -ws), slice(-ws, -shift), slice(-shift, None)):
            for w in (slice(0, -ws), slice(-ws, -shift), slice(-shift, None)):
                m[:, h, w] = cnt
                cnt += 1
        mw = self.part(m).squeeze(-1)
        mask = mw.unsqueeze(1) - mw.unsqueeze(2)
        self.register_buffer(
            "mask", mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
        )
        self.head = nn.Linear(dim, 4)

    def part(self, x):
        B, H, W, C = x.shape
        x = x.view(B, H // self.ws, self.ws, W // self.ws, self.ws, C)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.ws * self.ws, C)

    def forward(self, x):
        x = self.embed(x).permute(0, 2, 3, 1)
        B, H, W, C = x.shape
        y = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        y = self.part(y)
        n, L, _ = y.shape
        q, k, v = (
            self.qkv(y)
            .reshape(n, L, 3, self.heads, C // self.heads)
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )
        a = (q * (C // self.heads) ** -0.5) @ k.transpose(-2, -1)
        a = a + self.table[self.index.view(-1)].view(L, L, -1).permute(2, 0, 1).unsqueeze(0)
        nw = self.mask.shape[0]
        a = a.view(n // nw, nw, self.heads, L, L) + self.mask.unsqueeze(1).unsqueeze(0)
        a = a.view(-1, self.heads, L, L).softmax(-1)
        y = self.proj((a @ v).transpose(1, 2).reshape(n, L, C))
        y = (
            y.view(B, H // self.ws, W // self.ws, self.ws, self.ws, C)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(B, H, W, C)
        )
        y = torch.roll(y, (self.shift, self.shift), (1, 2))
        return self.head((x + y).mean((1, 2)))


@register_model("shifted_window", inputs=IMG)
def shifted_window():
    return Window()


class UNetOdd(nn.Module):
    def __init__(self):
        super().__init__()
        self.d1, self.d2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.u = nn.ConvTranspose2d(16, 8, 2, 2)
        self.o = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        a = F.relu(self.bn(self.d1(x)))
        b = F.relu(self.d2(F.max_pool2d(a, 2)))
        u = self.u(b)
        dy, dx = a.size(2) - u.size(2), a.size(3) - u.size(3)
        u = F.pad(u, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return torch.sigmoid(self.o(torch.cat([a, u], 1)))


@register_model(
    "unet_odd_sizes",
    inputs=[TensorSpec("scan", ("batch", 1, "height", "width"))],
    axes={"height": (9, 33), "width": (9, 33)},
)
def unet_odd_sizes():
    return UNetOdd()


class DeformAttn(nn.Module):
    def __init__(self, c=8, heads=2, points=4):
        super().__init__()
        self.h, self.p = heads, points
        self.value, self.off, self.w = (
            nn.Conv2d(3, c, 1),
            nn.Linear(6, heads * points * 2),
            nn.Linear(6, heads * points),
        )
        self.out = nn.Linear(c, 5)

    def forward(self, image, query, ref):
        B, Q, _ = query.shape
        v = self.value(image)
        H, W = v.shape[-2:]
        v = v.reshape(B * self.h, -1, H, W)
        off = self.off(query).view(B, Q, self.h, self.p, 2)
        loc = ref[:, :, None, None] + off / torch.tensor([W, H], dtype=off.dtype, device=off.device)
        grid = (2 * loc - 1).permute(0, 2, 1, 3, 4).reshape(B * self.h, Q, self.p, 2)
        s = F.grid_sample(v, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        w = (
            self.w(query)
            .view(B, Q, self.h, self.p)
            .softmax(-1)
            .transpose(1, 2)
            .reshape(B * self.h, 1, Q, self.p)
        )
        y = (s * w).sum(-1).view(B, -1, Q).transpose(1, 2)
        return self.out(y)


@register_model(
    "deformable_queries",
    inputs=[
        TensorSpec("image", ("batch", 3, 12, 16)),
        TensorSpec("query", ("batch", 7, 6)),
        TensorSpec("ref", ("batch", 7, 2), domain=Bounded(0, 1)),
    ],
)
def deformable_queries():
    return DeformAttn()


class YoloHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 16, 3, 8, 1), nn.Conv2d(16, 3 * 7, 1)
        self.register_buffer("anchors", torch.tensor([[10.0, 13], [16, 30], [33, 23]]))

    def forward(self, images):
        p = self.c2(F.silu(self.c1(images)))
        bs, _, ny, nx = p.shape
        p = p.view(bs, 3, 7, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
        yv, xv = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
        grid = torch.stack((xv, yv), 2).view(1, 1, ny, nx, 2).float()
        y = p.sigmoid()
        xy = (y[..., 0:2] * 2 - 0.5 + grid) * 8
        wh = (y[..., 2:4] * 2) ** 2 * self.anchors.view(1, 3, 1, 1, 2)
        return torch.cat((xy, wh, y[..., 4:]), -1).view(bs, -1, 7)


@register_model(
    "yolo_decode",
    inputs=[TensorSpec("images", ("batch", 3, "height", "width"), domain=Bounded(0, 1))],
    axes={"height": (32, 96, 32), "width": (32, 96, 32)},
)
def yolo_decode():
    return YoloHead()


class DFL(nn.Module):
    """Distribution focal loss decode with max over classes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4 * 16 + 5, 3, 4, 1)
        self.register_buffer("bins", torch.arange(16, dtype=torch.float))

    def forward(self, images):
        y = self.conv(images).flatten(2)
        b, _, a = y.shape
        box, cls = y.split((64, 5), 1)
        d = (box.view(b, 4, 16, a).softmax(2) * self.bins.view(1, 1, 16, 1)).sum(2)
        lt, rb = d.chunk(2, 1)
        scores, labels = cls.sigmoid().max(1)
        return torch.cat(((rb - lt) / 2, lt + rb), 1), scores, labels


@register_model("dfl_boxes", inputs=IMG)
def dfl_boxes():
    return DFL()


class ESPCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.act, self.b = (
            nn.Conv2d(3, 16, 5, padding=2, padding_mode="reflect"),
            nn.PReLU(16),
            nn.Conv2d(16, 12, 3, padding=1, padding_mode="replicate"),
        )
        self.up = nn.PixelShuffle(2)

    def forward(self, lr):
        base = F.interpolate(lr, scale_factor=2, mode="bicubic", align_corners=False)
        out = base + self.up(self.b(self.act(self.a(lr))))
        return (out.clamp(0, 1) * 255).round().to(torch.uint8)


@register_model(
    "super_resolved_bytes",
    inputs=[TensorSpec("lr", ("batch", 3, "h", "w"), domain=Bounded(0, 1))],
    axes={"h": (8, 24), "w": (8, 24)},
)
def super_resolved_bytes():
    return ESPCN()


class PreAndCrop(nn.Module):
    """A frame of bytes of any size: resized, cropped, normalised and classified."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1))
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 6),
        )

    def forward(self, frame):
        x = frame.permute(2, 0, 1).unsqueeze(0).float()
        x = F.interpolate(x, size=(36, 36), mode="bilinear", align_corners=False, antialias=False)[
            :, :, 2:34, 2:34
        ]
        p = self.net((x - self.mean) / self.std).softmax(-1)[0]
        return {"label": p.argmax(), "probability": p.max(), "all": p}


@register_model(
    "frame_classifier",
    inputs=[TensorSpec("frame", ("height", "width", 3), "uint8")],
    axes={"height": (24, 64), "width": (24, 64)},
)
def frame_classifier():
    return PreAndCrop()


class ModConv(nn.Module):
    """StyleGAN2 noise-free: grouped weights by batch."""

    def __init__(self):
        super().__init__()
        self.map = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 6))
        self.const = nn.Parameter(torch.randn(1, 6, 4, 4))
        self.w = nn.Parameter(torch.randn(1, 5, 6, 3, 3))
        self.rgb = nn.Conv2d(5, 3, 1)
        self.register_buffer(
            "blur", torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 16
        )

    def forward(self, z):
        z = z * torch.rsqrt(z.pow(2).mean(1, keepdim=True) + 1e-8)
        s = self.map(z) + 1
        b = z.size(0)
        x = self.const.expand(b, -1, -1, -1) * s.view(b, -1, 1, 1)
        w = self.w * s.view(b, 1, -1, 1, 1)
        demod = torch.rsqrt(w.pow(2).sum([2, 3, 4]) + 1e-8).view(b, -1, 1, 1)
        x = F.conv2d(x, self.w[0], padding=1) * demod
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.conv2d(F.pad(x, (2, 1, 2, 1)), self.blur.expand(5, 1, 4, 4), groups=5)
        return torch.tanh(self.rgb(F.leaky_relu(x, 0.2) * math.sqrt(2)))


@register_model("style_generator", inputs=[TensorSpec("z", ("batch", 8))])
def style_generator():
    return ModConv()


class Nms(nn.Module):
    """Greedy suppression written out with matrices, top 5."""

    def __init__(self):
        super().__init__()
        self.box, self.score = nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, features):
        b = torch.sigmoid(self.box(features))
        s = self.score(features).squeeze(-1)
        x1, y1 = b[..., 0] - b[..., 2] / 2, b[..., 1] - b[..., 3] / 2
        x2, y2 = b[..., 0] + b[..., 2] / 2, b[..., 1] + b[..., 3] / 2
        area = (x2 - x1) * (y2 - y1)
        order = s.argsort(-1, descending=True)

        def take(t):
            return t.gather(1, order)

        x1, y1, x2, y2, area, s = map(take, (x1, y1, x2, y2, area, s))
        w = (
            torch.minimum(x2[:, :, None], x2[:, None]) - torch.maximum(x1[:, :, None], x1[:, None])
        ).clamp(min=0)
        h = (
            torch.minimum(y2[:, :, None], y2[:, None]) - torch.maximum(y1[:, :, None], y1[:, None])
        ).clamp(min=0)
        iou = w * h / (area[:, :, None] + area[:, None] - w * h)
        keep = iou.triu(1).amax(1) < 0.5
        s = torch.where(keep, s, torch.full_like(s, -1e4))
        v, i = s.topk(5, 1)
        return v, torch.stack((x1, y1, x2, y2), -1).gather(1, i[..., None].expand(-1, -1, 4))


@register_model("matrix_suppression", inputs=[TensorSpec("features", ("batch", 20, 8))])
def matrix_suppression():
    return Nms()


class Neck(nn.Module):
    """Three maps in one list, three out: laterals, upsampling by size, and smoothing."""

    def __init__(self):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, 8, 1) for c in (4, 6, 8))
        self.smooth = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))

    def forward(self, maps: list[torch.Tensor]):
        found = [lateral(one) for lateral, one in zip(self.lateral, maps, strict=True)]
        for place in (1, 0):
            size = found[place].shape[-2:]
            found[place] = found[place] + F.interpolate(found[place + 1], size=size, mode="nearest")
        return [smooth(one) for smooth, one in zip(self.smooth, found, strict=True)]


@register_model(
    "pyramid_neck",
    inputs=[
        TensorSpec("c3", ("batch", 4, 16, 16)),
        TensorSpec("c4", ("batch", 6, 8, 8)),
        TensorSpec("c5", ("batch", 8, 4, 4)),
    ],
)
def pyramid_neck():
    return Neck()
