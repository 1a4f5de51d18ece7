"""Sampling, pyramids, anchors, bytes, quantisers, routed experts, boxes."""

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, TensorSpec, register_model


class Deformable(nn.Module):
    """Offsets found by a convolution, sampled by grid_sample."""

    def __init__(self):
        super().__init__()
        self.feat, self.off = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)
        nn.init.normal_(self.off.weight, std=0.05)

    def forward(self, image):
        b, _, h, w = image.shape
        ys = torch.linspace(-1, 1, h, dtype=image.dtype, device=image.device)
        xs = torch.linspace(-1, 1, w, dtype=image.dtype, device=image.device)
        gy, gx = torch.meshgrid(ys, xs, indexing="ij")
        grid = (
            torch.stack([gx, gy], -1).unsqueeze(0)
            + self.off(image).permute(0, 2, 3, 1).tanh() * 0.3
        )
        return F.grid_sample(
            self.feat(image), grid, mode="bilinear", padding_mode="border", align_corners=True
        )


@register_model(
    "offset_sampling",
    inputs=[TensorSpec("image", ("batch", 3, "h", "w"))],
    axes={"h": (5, 20), "w": (5, 20)},
)
def offset_sampling():
    return Deformable()


class Upsampler(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU(0.2)
        )
        self.dec = nn.Conv2d(8, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, image):
        x = self.enc(image)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return (
            torch.sigmoid(self.dec(x)),
            F.interpolate(x, size=(7, 9), mode="nearest"),
            F.adaptive_avg_pool2d(x, 1).flatten(1),
        )


@register_model("corner_upsampling", inputs=[TensorSpec("image", ("batch", 3, 16, 20))])
def corner_upsampling():
    return Upsampler()


class Pyramid(nn.Module):
    """An image pyramid of three scales of any size, heads shared, scores joined."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU6(), nn.Conv2d(6, 4, 1))

    def forward(self, image):
        out = []
        for level in range(3):
            h, w = image.shape[-2] // 2**level, image.shape[-1] // 2**level
            x = F.interpolate(
                image, size=(h, w), mode="bilinear", align_corners=False, antialias=False
            )
            y = self.net(x)
            out.append(y.flatten(2))
        joined = torch.cat(out, -1)
        return joined.softmax(1), joined.amax(-1)


@register_model(
    "image_pyramid",
    inputs=[TensorSpec("image", ("batch", 3, "h", "w"))],
    axes={"h": (8, 24), "w": (8, 24)},
)
def image_pyramid():
    return Pyramid()


class Anchors(nn.Module):
    """SSD-like: anchors from the size of the feature map made in forward, boxes decoded."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Conv2d(8, 8, 3, 2, 1),
            nn.SiLU(),
        )
        self.reg, self.cls = nn.Conv2d(8, 2 * 4, 3, padding=1), nn.Conv2d(8, 2 * 3, 3, padding=1)
        self.register_buffer("sides", torch.tensor([[8.0, 12.0], [16.0, 10.0]]))

    def forward(self, image):
        f = self.body(image)
        b, _, h, w = f.shape
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        shift = 0.5
        centre = torch.stack([(x + shift) * 4, (y + shift) * 4], -1).to(image.dtype)
        anchors = torch.cat(
            [centre[:, :, None].expand(h, w, 2, 2), self.sides.expand(h, w, 2, 2)], -1
        ).reshape(-1, 4)
        d = self.reg(f).view(b, 2, 4, h, w).permute(0, 3, 4, 1, 2).reshape(b, -1, 4)
        xy = anchors[:, :2] + d[..., :2] * anchors[:, 2:] * 0.1
        wh = anchors[:, 2:] * torch.exp((d[..., 2:] * 0.2).clamp(max=4.0))
        boxes = torch.cat([xy - wh / 2, xy + wh / 2], -1)
        scores = self.cls(f).view(b, 2, 3, h, w).permute(0, 3, 4, 1, 2).reshape(b, -1, 3).sigmoid()
        return boxes.clamp(min=0), scores


@register_model(
    "anchors_in_forward",
    inputs=[TensorSpec("image", ("batch", 3, "h", "w"))],
    axes={"h": (8, 32, 4), "w": (8, 32, 4)},
)
def anchors_in_forward():
    return Anchors()


class Bytes(nn.Module):
    """uint8 pixels in, normalised inside; classes and a bool out."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2, 2),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 6),
        )

    def forward(self, frame):
        x = frame.permute(0, 3, 1, 2).float().div(255)
        logits = self.net((x - self.mean) / self.std)
        p = logits.softmax(-1)
        return logits, p.argmax(-1).to(torch.int32), p.max(-1).values > 0.25


@register_model("bytes_last", inputs=[TensorSpec("frame", ("batch", 24, 24, 3), "uint8")])
def bytes_last():
    return Bytes()


class STE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, levels):
        return torch.round(x.clamp(-1, 1) * levels) / levels

    @staticmethod
    def backward(ctx, g):
        return g, None

    @staticmethod
    def symbolic(g, x, levels):
        low, high = (
            g.op("Constant", value_t=torch.tensor(-1.0)),
            g.op("Constant", value_t=torch.tensor(1.0)),
        )
        n = g.op("Constant", value_t=torch.tensor(float(levels)))
        return g.op("Div", g.op("Round", g.op("Mul", g.op("Clip", x, low, high), n)), n)


class Quantised(nn.Module):
    """A straight-through quantiser of activations with a symbolic of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(9, 12), nn.Linear(12, 4)

    def forward(self, x):
        h = torch.tanh(self.a(x))
        q = STE.apply(h, 7)
        return self.b(q)


@register_model("straight_through", inputs=[TensorSpec("x", ("batch", 9))])
def straight_through():
    return Quantised()


class Straight(nn.Module):
    """x + (q - x).detach(): the straight-through estimator in one line, LSQ scale learnt."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.full((1, 8, 1), 0.11))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        h = F.relu(self.conv(x))
        s = self.scale.abs()
        q = torch.clamp(torch.round(h / s), 0, 15) * s
        h = h + (q - h).detach()
        return self.head(h.mean(-1))


@register_model(
    "learned_step_size", inputs=[TensorSpec("x", ("batch", 4, "t"))], axes={"t": (3, 30)}
)
def learned_step_size():
    return Straight()


class MoE(nn.Module):
    """Top-2 of 4 experts, gates renormalised, dense dispatch by one-hot."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(6, 4, bias=False)
        self.w1, self.w2 = (
            nn.Parameter(torch.randn(4, 6, 10) * 0.3),
            nn.Parameter(torch.randn(4, 10, 6) * 0.3),
        )

    def forward(self, x):
        p = self.gate(x).softmax(-1)
        top, which = p.topk(2, -1)
        top = top / top.sum(-1, keepdim=True)
        weight = torch.zeros_like(p).scatter(-1, which, top)
        h = F.silu(torch.einsum("bsd,edh->bseh", x, self.w1))
        y = torch.einsum("bseh,ehd->bsed", h, self.w2)
        return (y * weight.unsqueeze(-1)).sum(-2), p.mean((0, 1))


@register_model(
    "routed_experts", inputs=[TensorSpec("x", ("batch", "seq", 6))], axes={"seq": (1, 16)}
)
def routed_experts():
    return MoE()


class Detector(nn.Module):
    """Post-processing: torchvision's NMS over fixed boxes' scores, dynamic number of boxes out."""

    def forward(self, boxes, scores):
        import torchvision

        lo, hi = boxes[..., :2], boxes[..., :2] + boxes[..., 2:]
        corners = torch.cat([lo, hi], -1)
        keep = torchvision.ops.nms(corners, scores, 0.5)
        return corners[keep], scores[keep], keep


@register_model(
    "nms_after",
    inputs=[
        TensorSpec("boxes", ("n", 4), domain=Bounded(0, 4)),
        TensorSpec("scores", ("n",), domain=Bounded(0, 1)),
    ],
    axes={"n": (2, 40)},
)
def nms_after():
    return Detector()
