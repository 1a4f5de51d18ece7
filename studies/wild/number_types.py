"""Modules of other numbers: half precision, complex numbers, sparse ones, whole numbers, masks."""

import math

import torch
from torch import nn

from onnx_conformance import Bounded, Integers, TensorSpec, register_model

X = [TensorSpec("x", ("batch", 8))]
WAVE = [TensorSpec("wave", ("batch", 256))]


def plain(outs=4):
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, outs))


@register_model("half_weights_cast", inputs=X)
def half_weights_cast():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain().half()

        def forward(self, x):
            return self.net(x.half()).float()

    return Net()


@register_model("half_in_and_out", inputs=[TensorSpec("x", ("batch", 8), "float16")])
def half_in_and_out():
    return plain().half()


@register_model("brain_weights_cast", inputs=X)
def brain_weights_cast():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain().bfloat16()

        def forward(self, x):
            return self.net(x.bfloat16()).float()

    return Net()


@register_model("brain_weights_stored", inputs=X)
def brain_weights_stored():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter((torch.randn(4, 8) / 3).bfloat16())

        def forward(self, x):
            return nn.functional.linear(x, self.w.float()).tanh()

    return Net()


@register_model("brain_in_and_out", inputs=[TensorSpec("x", ("batch", 8), "bfloat16")])
def brain_in_and_out():
    return plain().bfloat16()


@register_model("autocast_inside", inputs=X)
def autocast_inside():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain()

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = self.net(x)
            return y.float()

    return Net()


@register_model("double_model", inputs=[TensorSpec("x", ("batch", 8), "float64")])
def double_model():
    return plain().double()


@register_model("double_inside", inputs=X)
def double_inside():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain()
            self.register_buffer("k", torch.linspace(0, 1, 8, dtype=torch.float64))

        def forward(self, x):
            return self.net((x.double() * self.k).float())

    return Net()


@register_model("range_of_both", inputs=[TensorSpec("x", ("batch", "time", 8))])
def range_of_both():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(8, 8)

        def forward(self, x):
            return self.q(x) + torch.sin(torch.arange(x.shape[1])[:, None] / torch.arange(1, 9.0))

    return Net()


@register_model("complex_rotation", inputs=[TensorSpec("x", ("batch", "time", 8))])
def complex_rotation():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(8, 8)
            freq = 1.0 / 100 ** (torch.arange(0, 8, 2).float() / 8)
            angle = torch.outer(torch.arange(64).float(), freq)
            self.register_buffer("rope", torch.polar(torch.ones_like(angle), angle))

        def forward(self, x):
            q = torch.view_as_complex(self.q(x).reshape(*x.shape[:-1], 4, 2))
            return torch.view_as_real(q * self.rope[: x.shape[1]]).flatten(-2)

    return Net()


@register_model("rotation_by_hand", inputs=[TensorSpec("x", ("batch", "time", 8))])
def rotation_by_hand():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(8, 8)
            self.register_buffer("inv", 1.0 / 100 ** (torch.arange(0, 8, 2).float() / 8))

        def forward(self, x):
            t = torch.arange(x.shape[1], device=x.device, dtype=self.inv.dtype)
            f = torch.einsum("i,j->ij", t, self.inv)
            e = torch.cat((f, f), -1)
            q = self.q(x)
            a, b = q.chunk(2, -1)
            return q * e.cos() + torch.cat((-b, a), -1) * e.sin()

    return Net()


@register_model("spectrogram", inputs=WAVE)
def spectrogram():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("window", torch.hann_window(64))
            self.register_buffer("mel", torch.rand(33, 10))

        def forward(self, wave):
            s = torch.stft(wave, 64, 16, window=self.window, return_complex=True).abs() ** 2
            return (s.transpose(1, 2) @ self.mel).clamp(min=1e-5).log10()

    return Net()


@register_model("spectral_filter", inputs=[TensorSpec("x", ("batch", 16, 4))])
def spectral_filter():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(9, 4, 2) * 0.3)

        def forward(self, x):
            f = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(self.w)
            return torch.fft.irfft(f, n=16, dim=1, norm="ortho")

    return Net()


@register_model("fourier_operator", inputs=[TensorSpec("u", ("batch", 2, 16, 16))])
def fourier_operator():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(2, 3, 4, 4, dtype=torch.cfloat) / 3)
            self.skip = nn.Conv2d(2, 3, 1)

        def forward(self, u):
            f = torch.fft.rfft2(u)
            out = torch.zeros(u.shape[0], 3, 16, 9, dtype=torch.cfloat)
            out[:, :, :4, :4] = torch.einsum("bixy,ioxy->boxy", f[:, :, :4, :4], self.w)
            return nn.functional.gelu(torch.fft.irfft2(out, s=(16, 16)) + self.skip(u))

    return Net()


@register_model("sparse_adjacency", inputs=[TensorSpec("x", (10, 4))])
def sparse_adjacency():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 3)
            a = (torch.rand(10, 10) < 0.3).float()
            self.register_buffer("a", (a / a.sum(1, keepdim=True).clamp(min=1)).to_sparse())

        def forward(self, x):
            return torch.sparse.mm(self.a, self.lin(x)).relu()

    return Net()


@register_model(
    "dense_adjacency",
    inputs=[
        TensorSpec("x", ("batch", 10, 4)),
        TensorSpec("adj", ("batch", 10, 10), domain=Bounded(0, 1)),
    ],
)
def dense_adjacency():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x, adj):
            adj = adj + torch.eye(10, device=adj.device)
            d = adj.sum(-1).rsqrt()
            adj = d.unsqueeze(-1) * adj * d.unsqueeze(-2)
            x = torch.relu(adj @ self.a(x))
            return (adj @ self.b(x)).mean(1)

    return Net()


@register_model("boolean_mask", inputs=X)
def boolean_mask():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain(8)

        def forward(self, x):
            y = self.net(x).clone()
            y[x < 0] = 0
            y[:, 2:4] += x[:, :2]
            return y

    return Net()


@register_model("in_place", inputs=X)
def in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain(8)

        def forward(self, x):
            y = self.net(x)
            y.mul_(2).add_(1).clamp_(-3, 3)
            y[:, 0] = x[:, 0]
            y.transpose(0, 1)[1].zero_()
            return y

    return Net()


@register_model("int_pixels", inputs=[TensorSpec("image", ("batch", 16, 16, 3), "uint8")])
def int_pixels():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.register_buffer("mean", torch.tensor([0.48, 0.45, 0.41]).view(1, 3, 1, 1))

        def forward(self, image):
            x = image.permute(0, 3, 1, 2).contiguous().float().div(255)
            return self.conv((x - self.mean) / 0.25).flatten(1).logsumexp(1)

    return Net()


@register_model(
    "bit_arithmetic", inputs=[TensorSpec("k", ("batch", 4), "int32", domain=Integers(0, 1000))]
)
def bit_arithmetic():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(64, 5)

        def forward(self, k):
            return self.table(((k >> 2) & 63).long()).sum(1)

    return Net()


@register_model(
    "time_embedding", inputs=[TensorSpec("t", ("batch",), "int64", domain=Integers(0, 999))]
)
def time_embedding():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(16, 12), nn.SiLU(), nn.Linear(12, 6))

        def forward(self, t):
            f = torch.exp(-math.log(10000) * torch.arange(8) / 8)
            a = t[:, None].float() * f[None]
            return self.net(torch.cat([a.sin(), a.cos()], -1))

    return Net()


@register_model("dynamic_quantised", inputs=X)
def dynamic_quantised():
    return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear}, dtype=torch.qint8)


@register_model("static_quantised", inputs=[TensorSpec("image", ("batch", 3, 8, 8))])
def static_quantised():
    q = torch.ao.quantization
    torch.backends.quantized.engine = "fbgemm"
    net = nn.Sequential(q.QuantStub(), nn.Conv2d(3, 4, 3), nn.ReLU(), q.DeQuantStub()).eval()
    net.qconfig = q.get_default_qconfig("fbgemm")
    q.prepare(net, inplace=True)
    net(torch.randn(8, 3, 8, 8))
    return q.convert(net)
