"""Images, rays, sounds and fields."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Lengths, TensorSpec, register_model

IMG = [TensorSpec("image", ("batch", 3, 16, 20))]
WAVE = [TensorSpec("wave", ("batch", "samples"))]


def conv(a, b, k=3, **kw):
    return nn.Conv2d(a, b, k, padding=k // 2, **kw)


@dataclass
class Rendered:
    rgb: torch.Tensor
    depth: torch.Tensor
    opacity: torch.Tensor


torch.utils._pytree.register_dataclass(Rendered)


class RayMarch(nn.Module):
    """NeRF: encoded places along rays, composited with a cumulative product."""

    def __init__(self):
        super().__init__()
        self.register_buffer("freq", 2.0 ** torch.arange(4) * math.pi)
        self.net, self.sigma = nn.Sequential(nn.Linear(27, 32), nn.ReLU()), nn.Linear(32, 1)
        self.colour = nn.Sequential(nn.Linear(35, 16), nn.ReLU(), nn.Linear(16, 3), nn.Sigmoid())

    def encode(self, x):
        xb = (x[..., None, :] * self.freq[:, None]).flatten(-2)
        return torch.cat([x, xb.sin(), xb.cos()], -1)

    def forward(self, origins, directions):
        t = torch.linspace(0.5, 3.0, 12, device=origins.device).to(origins.dtype)
        d = F.normalize(directions, dim=-1)
        h = self.net(self.encode(origins[:, None] + t[:, None] * d[:, None]))
        sigma = F.relu(self.sigma(h)[..., 0])
        rgb = self.colour(torch.cat([h, d[:, None].expand(-1, 12, -1)], -1))
        delta = torch.cat([t[1:] - t[:-1], torch.full_like(t[:1], 1e10)])
        alpha = 1.0 - torch.exp(-sigma * delta)
        clear = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-6], 1), 1)
        w = alpha * clear[:, :-1]
        return Rendered((w[..., None] * rgb).sum(1), (w * t).sum(1), w.sum(1))


@register_model(
    "ray_march",
    inputs=[
        TensorSpec("origins", ("batch", 3), domain=Bounded(-1, 1)),
        TensorSpec("directions", ("batch", 3), domain=Bounded(0.1, 1)),
    ],
)
def ray_march():
    return RayMarch()


class HashGrid(nn.Module):
    """Instant NGP: corners hashed by xor of products, features blended between them."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ParameterList(nn.Parameter(torch.rand(64, 2) - 0.5) for _ in range(3))
        self.register_buffer("primes", torch.tensor([1, 2654435761]))
        self.register_buffer("corners", torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
        self.head = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, xy):
        found = []
        for level, table in enumerate(self.tables):
            x = xy * (4 * 2**level)
            low = torch.floor(x)
            part = (x - low)[:, None]
            c = (low.long()[:, None] + self.corners) * self.primes
            index = torch.bitwise_xor(c[..., 0], c[..., 1]) % 64
            w = torch.where(self.corners.bool(), part, 1 - part).prod(-1, keepdim=True)
            found.append((table[index] * w).sum(1))
        return self.head(torch.cat(found, -1))


@register_model("hash_grid", inputs=[TensorSpec("xy", ("batch", 2), domain=Bounded(0, 1))])
def hash_grid():
    return HashGrid()


class PowerSpectrum(nn.Module):
    """A classifier of sounds: torch.stft inside, decibels with a floor below the top."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(64), persistent=False)
        self.conv, self.head = nn.Conv1d(33, 16, 3, padding=1), nn.Linear(16, 5)

    def forward(self, wave):
        s = torch.stft(wave, 64, 32, window=self.window, center=True, return_complex=True)
        power = s.real.pow(2) + s.imag.pow(2)
        db = 10 * torch.log10(power.clamp(min=1e-6))
        db = torch.maximum(db, db.amax((1, 2), keepdim=True) - 60)
        return self.head(F.relu(self.conv(db)).mean(-1))


@register_model("power_spectrum", inputs=[TensorSpec("wave", ("batch", 512))])
def power_spectrum():
    return PowerSpectrum()


class Cepstrum(nn.Module):
    """MFCC by hand: pre-emphasis, frames by unfold, rfft, mel bands, log, DCT, lifter."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hamming_window(128, periodic=False))
        self.register_buffer("mel", torch.rand(65, 20) * (torch.rand(65, 20) < 0.2) + 1e-3)
        k = torch.arange(12.0)[:, None] * (torch.arange(20.0) + 0.5) * math.pi / 20
        self.register_buffer("dct", torch.cos(k).T * math.sqrt(2 / 20))
        self.register_buffer("lift", 1 + 11 * torch.sin(math.pi * torch.arange(12.0) / 22))

    def forward(self, wave):
        x = torch.cat([wave[:, :1], wave[:, 1:] - 0.97 * wave[:, :-1]], 1)
        frames = x.unfold(-1, 128, 64)
        frames = (frames - frames.mean(-1, keepdim=True)) * self.window
        spectrum = torch.fft.rfft(frames, n=128).abs().square()
        c = torch.log(spectrum @ self.mel + 1e-5) @ self.dct * self.lift
        return c - c.mean(1, keepdim=True)


@register_model("cepstrum", inputs=WAVE, axes={"samples": (256, 700)})
def cepstrum():
    return Cepstrum()


class Denoised(nn.Module):
    """A mask on a complex spectrum, and sound again by irfft."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(34, 24, batch_first=True)
        self.mask = nn.Linear(24, 34)

    def forward(self, frames):
        s = torch.fft.rfft(frames, dim=-1, norm="ortho")
        r, i = s.real, s.imag
        m, _ = self.gru(torch.cat([r, i], -1))
        mr, mi = torch.tanh(self.mask(m)).chunk(2, -1)
        out = torch.complex(r * mr - i * mi, r * mi + i * mr)
        return torch.fft.irfft(out, n=32, dim=-1, norm="ortho")


@register_model(
    "spectrum_masked", inputs=[TensorSpec("frames", ("batch", "time", 32))], axes={"time": (1, 12)}
)
def spectrum_masked():
    return Denoised()


class Collapsed(nn.Module):
    """A CTC head: log-probabilities, the best path, and which of its steps count."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(10, 24, 5, stride=2, padding=2)
        self.lstm = nn.LSTM(24, 16, bidirectional=True, batch_first=True)
        self.out = nn.Linear(32, 7)

    def forward(self, features, lengths):
        x = F.hardtanh(self.conv(features.transpose(1, 2)), 0, 20).transpose(1, 2)
        n = torch.div(lengths + 1, 2, rounding_mode="floor")
        valid = torch.arange(x.shape[1], device=x.device)[None] < n[:, None]
        logp = self.out(self.lstm(x * valid[..., None])[0]).log_softmax(-1)
        best = logp.argmax(-1)
        before = F.pad(best, (1, 0), value=-1)[:, :-1]
        return logp, best.masked_fill(~valid, 0), (best != 0) & (best != before) & valid


@register_model(
    "ctc_collapsed",
    inputs=[
        TensorSpec("features", ("batch", "frames", 10)),
        TensorSpec("lengths", ("batch",), "int64", domain=Lengths("frames")),
    ],
    axes={"frames": (2, 20)},
)
def ctc_collapsed():
    return Collapsed()


class FlowWarp(nn.Module):
    """A flow between two frames, and the second frame brought back along it."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(conv(6, 12, 5), nn.SiLU(), conv(12, 2))

    def forward(self, first, second):
        flow = self.net(torch.cat([first, second], 1)) * 3
        n, _, h, w = second.shape
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack((x, y), 0).to(flow).unsqueeze(0) + flow
        gx = 2.0 * grid[:, 0] / max(w - 1, 1) - 1.0
        gy = 2.0 * grid[:, 1] / max(h - 1, 1) - 1.0
        grid = torch.stack((gx, gy), 3)
        back = F.grid_sample(second, grid, padding_mode="border", align_corners=True)
        inside = (gx.abs() <= 1) & (gy.abs() <= 1)
        return back, flow, inside


@register_model(
    "flow_warp",
    inputs=[
        TensorSpec(n, ("batch", 3, "h", "w"), domain=Bounded(0, 1)) for n in ("first", "second")
    ],
    axes={"h": (6, 14), "w": (6, 14)},
)
def flow_warp():
    return FlowWarp()


class CroppedUnet(nn.Module):
    """The U-Net of 2015: convolutions without padding, skips cut in the middle."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3)
        self.up, self.c, self.d = (
            nn.ConvTranspose2d(16, 8, 2, 2),
            nn.Conv2d(16, 8, 3),
            nn.Conv2d(8, 2, 1),
        )

    def forward(self, image):
        s = F.relu(self.a(image))
        x = self.up(F.relu(self.b(F.max_pool2d(s, 2))))
        dy, dx = (s.shape[2] - x.shape[2]) // 2, (s.shape[3] - x.shape[3]) // 2
        s = s[:, :, dy : dy + x.shape[2], dx : dx + x.shape[3]]
        return self.d(F.relu(self.c(torch.cat([s, x], 1))))


@register_model(
    "unet_cropped",
    inputs=[TensorSpec("image", ("batch", 1, "h", "w"))],
    axes={"h": (14, 30), "w": (14, 30)},
)
def unet_cropped():
    return CroppedUnet()


class Preprocessed(nn.Module):
    """Bytes of a camera, BGR and channels last: resized, normalised, classified."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.conv, self.head = conv(3, 8, stride=2), nn.Linear(8, 4)

    def forward(self, frame):
        x = frame.permute(0, 3, 1, 2)[:, [2, 1, 0]].float().div(255)
        x = F.interpolate(x, size=(16, 16), mode="bilinear", align_corners=False)
        x = (x - self.mean) / self.std
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


@register_model(
    "camera_bytes",
    inputs=[TensorSpec("frame", ("batch", "h", "w", 3), "uint8")],
    axes={"h": (12, 30), "w": (12, 30)},
)
def camera_bytes():
    return Preprocessed()


class CentreDecode(nn.Module):
    """CenterNet's decoding: peaks by a maximum, the best over all classes, boxes gathered."""

    def __init__(self):
        super().__init__()
        self.body, self.heat, self.size = conv(3, 12, stride=2), conv(12, 4, 1), conv(12, 4, 1)

    def forward(self, image):
        x = F.relu(self.body(image))
        heat, size = torch.sigmoid(self.heat(x)), self.size(x)
        heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat).to(heat.dtype)
        b, c, h, w = heat.shape
        score, index = torch.topk(heat.view(b, -1), 6)
        label, place = index // (h * w), index % (h * w)
        ys, xs = (place // w).to(size.dtype), (place % w).to(size.dtype)
        size = size.permute(0, 2, 3, 1).reshape(b, -1, 4)
        size = size.gather(1, place.unsqueeze(2).expand(-1, -1, 4))
        centre = torch.stack([xs, ys], -1) + size[..., :2]
        return {
            "boxes": torch.cat([centre - size[..., 2:] / 2, centre + size[..., 2:] / 2], -1),
            "scores": score,
            "labels": label,
        }


@register_model("centre_decode", inputs=IMG)
def centre_decode():
    return CentreDecode()


class EveryMode(nn.Module):
    """Each way of F.interpolate, to sizes and by factors, up and down."""

    def __init__(self):
        super().__init__()
        self.conv = conv(3, 4)

    def forward(self, image):
        x = self.conv(image)
        line = x.flatten(2)
        return (
            F.interpolate(x, size=(11, 13), mode="nearest-exact"),
            F.interpolate(x, scale_factor=(1.5, 0.75), mode="nearest"),
            F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
            F.interpolate(x, size=(9, 7), mode="bilinear", align_corners=True),
            F.interpolate(x, scale_factor=1.7, mode="bicubic", align_corners=False),
            F.interpolate(x, size=(8, 10), mode="area"),
            F.interpolate(line, scale_factor=0.5, mode="linear", align_corners=False),
            F.interpolate(x[:, :, None], size=(2, 12, 9), mode="trilinear", align_corners=False),
        )


@register_model("every_interpolation", inputs=IMG)
def every_interpolation():
    return EveryMode()


class DynamicKernel(nn.Module):
    """CondConv: kernels mixed for each sample, the batch folded into groups."""

    def __init__(self):
        super().__init__()
        self.route, self.w = nn.Linear(3, 4), nn.Parameter(torch.randn(4, 8, 3, 3, 3) / 5)

    def forward(self, image):
        b, c, h, w = image.shape
        r = torch.sigmoid(self.route(image.mean((2, 3))))
        k = (r @ self.w.flatten(1)).view(b * 8, c, 3, 3)
        return F.conv2d(image.reshape(1, b * c, h, w), k, padding=1, groups=b).view(b, 8, h, w)


@register_model("dynamic_kernel", inputs=IMG)
def dynamic_kernel():
    return DynamicKernel()


class Residual(nn.Module):
    """A residual quantiser of sounds: four codebooks, codes and what they decode to."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Conv1d(1, 8, 4, 2, 1), nn.ConvTranspose1d(8, 1, 4, 2, 1)
        self.register_buffer(
            "books", torch.randn(4, 24, 8) * torch.tensor([1, 0.5, 0.25, 0.12]).view(4, 1, 1)
        )

    def forward(self, wave):
        rest = self.encode(wave.unsqueeze(1)).transpose(1, 2)
        total, codes = torch.zeros_like(rest), []
        for book in self.books:
            d = torch.cdist(rest, book.unsqueeze(0).expand(rest.shape[0], -1, -1))
            codes.append(d.argmin(-1))
            q = F.embedding(codes[-1], book)
            rest, total = rest - q, total + q
        return torch.stack(codes, 1), self.decode(total.transpose(1, 2)).squeeze(1)


@register_model("residual_quantiser", inputs=WAVE, axes={"samples": (16, 64, 2)})
def residual_quantiser():
    return Residual()


class CoordinateAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.mid = conv(3, 8), nn.Conv2d(8, 4, 1)
        self.h, self.w = nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 1)

    def forward(self, image):
        x = self.first(image)
        n, c, h, w = x.size()
        xh = F.adaptive_avg_pool2d(x, (None, 1))
        xw = F.adaptive_avg_pool2d(x, (1, None)).permute(0, 1, 3, 2)
        y = F.hardswish(self.mid(torch.cat([xh, xw], dim=2)))
        yh, yw = torch.split(y, [h, w], dim=2)
        return x * self.h(yh).sigmoid() * self.w(yw.permute(0, 1, 3, 2)).sigmoid()


@register_model(
    "coordinate_attention",
    inputs=[TensorSpec("image", ("batch", 3, "h", "w"))],
    axes={"h": (4, 15), "w": (4, 15)},
)
def coordinate_attention():
    return CoordinateAttention()


class Axial(nn.Module):
    """Attention along rows and columns, by einsums with five axes."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Conv2d(3, 3 * 2 * 4, 1, bias=False)
        self.rows, self.columns = (
            nn.Parameter(torch.randn(16, 16)),
            nn.Parameter(torch.randn(20, 20)),
        )

    def forward(self, image):
        b, _, h, w = image.shape
        q, k, v = self.qkv(image).view(b, 3, 2, 4, h, w).unbind(1)
        row = (torch.einsum("bnchw,bncgw->bnhgw", q, k) / 2 + self.rows[:, :, None]).softmax(3)
        column = (torch.einsum("bnchw,bnchv->bnhwv", q, k) / 2 + self.columns).softmax(-1)
        y = torch.einsum("bnhgw,bncgw->bnchw", row, v) + torch.einsum(
            "bnhwv,bnchv->bnchw", column, v
        )
        return y.reshape(b, 8, h, w)


@register_model("axial_attention", inputs=IMG)
def axial_attention():
    return Axial()


class GlobalFilter(nn.Module):
    """GFNet: real parameters seen as complex ones multiply a spectrum."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 2, 2)
        self.w = nn.Parameter(torch.randn(8, 8, 5, 2) * 0.3)

    def forward(self, image):
        x = self.embed(image)
        y = torch.fft.rfft2(x, dim=(2, 3), norm="ortho") * torch.view_as_complex(self.w)
        return x + torch.fft.irfft2(y, s=(8, 8), dim=(2, 3), norm="ortho")


@register_model("global_filter", inputs=[TensorSpec("image", ("batch", 3, 16, 16))])
def global_filter():
    return GlobalFilter()
