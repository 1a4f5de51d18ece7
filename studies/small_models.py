"""Small models for faults that the registered ones have no place for.

Symbolic sizes, small inputs, whole numbers and masks (`sizes`); a state, a cache, a fixed batch and
boxes whose number the values decide (`slots and state`).
"""

import torch
from torch import nn
from torch.nn import functional as F

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Integers, Mask
from onnx_conformance.core.spec import TensorSpec


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(300, 8), nn.Embedding(64, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, ids):
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.head(self.norm(self.tokens(ids) + self.places(places)))


class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, image):
        return self.last(F.relu(self.first(image)))


class Labels(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 6)

    def forward(self, x):
        scores = self.last(F.gelu(self.norm(self.first(x))))
        return {"label": scores.argmax(1), "over": scores > 0.25}


@register_model(
    "tokens", inputs=[TensorSpec("ids", ("batch", "seq"), "int64", domain=Integers(0, 300))],
    axes={"seq": (1, 64)},
)  # fmt: skip
def tokens():
    return Tokens()


@register_model(
    "maps", inputs=[TensorSpec("image", ("batch", 3, "height", "width"))],
    axes={"height": (16, 32, 16), "width": (16, 32, 16)},
)  # fmt: skip
def maps():
    return Maps()


@register_model("labels", inputs=[TensorSpec("x", ("batch", 16))])
def labels():
    return Labels()


@register_model("scores", inputs=[TensorSpec("x", ("batch", 16))])
def scores():
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 6))


class Masked(nn.Module):
    """Logits of the choices that are allowed, with rounded features."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(12, 32), nn.Linear(32, 10)

    def forward(self, x, allowed):
        return self.last(F.gelu(self.first(x + torch.round(x)))).masked_fill(~allowed, -1e9)


@register_model(
    "masked", inputs=[TensorSpec("x", ("batch", 12)), TensorSpec("allowed", ("batch", 10), "bool")]
)
def masked():
    return Masked()


class Pairs(nn.Module):
    """Every source with every target, as in attention."""

    def __init__(self):
        super().__init__()
        self.source, self.target, self.head = nn.Linear(6, 8), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, source, target):
        source, target = self.source(source), self.target(target)
        weights = (target @ source.transpose(1, 2)).softmax(-1)
        return self.head(torch.tanh(weights @ source + target))


@register_model(
    "pairs",
    inputs=[
        TensorSpec("source", ("batch", "source", 6)),
        TensorSpec("target", ("batch", "target", 4)),
    ],
    axes={"source": (1, 40), "target": (1, 20)},
)
def pairs():
    return Pairs()


class Voice(nn.Module):
    """A chunk of sound and the state in; a probability and the new state out."""

    def __init__(self):
        super().__init__()
        self.conv, self.cell = nn.Conv1d(1, 16, 16, 8), nn.LSTMCell(16, 16)
        self.head = nn.Linear(16, 1)

    def forward(self, chunk, state):
        sound = F.relu(self.conv(chunk[:, None])).mean(-1)
        hidden, cell = self.cell(sound, (state[0], state[1]))
        return torch.sigmoid(self.head(hidden)), torch.stack([hidden, cell])


@register_model(
    "voice",
    inputs=[
        TensorSpec("chunk", ("batch", 64)),
        TensorSpec("state", (2, "batch", 16)),
    ],
)
def voice():
    return Voice()


class Step(nn.Module):
    """One step of a decoder: the new token sees the past; keys and values go on."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(60, 16), nn.Linear(16, 20)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, token, past_key, past_value, mask):
        x = self.embed(token)
        key = torch.cat([past_key, self.key(x)], 1)
        value = torch.cat([past_value, self.value(x)], 1)
        seen = (self.query(x) @ key.transpose(1, 2) / 4).masked_fill(mask[:, None] == 0, -1e9)
        return self.head(seen.softmax(-1) @ value)[:, 0], key, value


@register_model(
    "step",
    inputs=[
        TensorSpec("token", ("batch", 1), "int64", domain=Integers(0, 60)),
        TensorSpec("past_key", ("batch", "past", 16)),
        TensorSpec("past_value", ("batch", "past", 16)),
        TensorSpec("mask", ("batch", "past+1"), "int64", domain=Mask()),
    ],
    axes={"past": (1, 64)},
)
def step():
    return Step()


class Attention(nn.Module):
    """Rotary positions; new tokens see the past and what comes before them."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.LayerNorm(16)
        self.register_buffer("frequencies", 100.0 ** -(torch.arange(8) / 8))

    def turned(self, x, places):
        angles = places.to(x.dtype)[:, None] * self.frequencies
        one, other = x.chunk(2, -1)
        sin, cos = angles.sin(), angles.cos()
        return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)

    def forward(self, x, key, value, places, new, mask):
        h = self.norm(x)
        key = torch.cat([key, self.turned(self.key(h), new)], 1)
        value = torch.cat([value, self.value(h)], 1)
        seen = (places <= new[:, None]) & (mask[:, None] != 0)
        scores = self.turned(self.query(h), new) @ key.transpose(1, 2) / 4
        return x + scores.masked_fill(~seen, -1e9).softmax(-1) @ value, key, value


class Decoder(nn.Module):
    """Two layers; one or several new tokens a call."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(60, 16), nn.Linear(16, 20)
        self.layers = nn.ModuleList(Attention() for _ in range(2))

    def forward(self, token, past_key_0, past_value_0, past_key_1, past_value_1, mask):
        places = torch.arange(mask.shape[1], device=mask.device)
        new = places[past_key_0.shape[1] :]
        x, found = self.embed(token), {}
        past = ((past_key_0, past_value_0), (past_key_1, past_value_1))
        for number, (layer, (key, value)) in enumerate(zip(self.layers, past, strict=True)):
            x, key, value = layer(x, key, value, places, new, mask)
            found |= {f"present_key_{number}": key, f"present_value_{number}": value}
        return {"logits": self.head(x), **found}


@register_model(
    "decoder",
    inputs=[
        TensorSpec("token", ("batch", "new"), "int64", domain=Integers(0, 60)),
        *(
            TensorSpec(f"past_{kind}_{layer}", ("batch", "past", 16))
            for layer in range(2)
            for kind in ("key", "value")
        ),
        TensorSpec("mask", ("batch", "past+new"), "int64", domain=Mask()),
    ],
    axes={"past": (0, 24), "new": (1, 4)},
)
def decoder():
    return Decoder()


class Three(nn.Module):
    """It takes exactly three images."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(400, 5)

    def forward(self, image):
        return self.head(F.relu(self.conv(image)).reshape(3, 400))


@register_model("three", inputs=[TensorSpec("image", (3, 3, 12, 12))])
def three():
    return Three()


class Boxes(nn.Module):
    """The boxes of two images: kept ones, their scores in tenths, and the image of each."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 48), nn.Linear(48, 100)

    def forward(self, x):
        from torchvision.ops import nms

        corner, size, score = self.last(torch.tanh(2 * self.first(x))).split((40, 40, 20))
        corner, size = corner.reshape(20, 2), size.reshape(20, 2).abs()
        boxes = torch.cat([corner, corner + size], 1)
        scores = torch.round(10 * torch.sigmoid(4 * score)) / 10
        image = (torch.arange(20) >= 10).to(torch.int64)
        apart = boxes + 100 * image[:, None].to(boxes.dtype)
        kept = nms(apart, scores, 0.3)
        return boxes[kept], scores[kept], image[kept]


@register_model("boxes", inputs=[TensorSpec("x", (16,))])
def boxes():
    return Boxes()
