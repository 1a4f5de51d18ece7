"""Models in the shapes in which they are deployed: no batch, a fixed one, state, two batches."""

import torch
from torch import nn
from torch.nn.functional import normalize

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Bounded, Choice, Integers, Mask
from onnx_conformance.core.spec import TensorSpec


class Classifier(nn.Module):
    """It takes exactly ``batch`` images: their number stands in its code."""

    def __init__(self, batch):
        super().__init__()
        self.batch, self.conv, self.head = batch, nn.Conv2d(3, 4, 3), nn.Linear(4 * 14 * 14, 5)

    def forward(self, image):
        return self.head(torch.relu(self.conv(image)).view(self.batch, -1))


@register_model("static_1", inputs=[TensorSpec("image", (1, 3, 16, 16))])
def static_1():
    return Classifier(1)


@register_model("static_2", inputs=[TensorSpec("image", (2, 3, 16, 16))])
def static_2():
    return Classifier(2)


class VoiceActivity(nn.Module):
    """A chunk of sound, the state and the sampling rate in; a probability and the new state out."""

    def __init__(self):
        super().__init__()
        self.conv, self.cell, self.head = (
            nn.Conv1d(1, 16, 16, 8),
            nn.GRUCell(16, 16),
            nn.Linear(16, 1),
        )

    def forward(self, chunk, state, rate):
        sound = torch.relu(self.conv(chunk[:, None])).flatten(1, -1)[:, ::7]
        state = self.cell(sound * (rate / 8000).to(sound.dtype), state[0])
        return torch.sigmoid(self.head(state)), state[None]


@register_model(
    "voice_activity",
    inputs=[
        TensorSpec("chunk", ("batch", 64)),
        TensorSpec("state", (1, "batch", 16), domain=Bounded(-1, 1)),
        TensorSpec("rate", (), "int64", domain=Choice((8000, 16000))),
    ],
)
def voice_activity():
    return VoiceActivity()


class ImageText(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 4), nn.Linear(6, 4)

    def forward(self, image, text):
        return normalize(self.a(image), dim=-1) @ normalize(self.b(text), dim=-1).T


@register_model(
    "images_by_texts",
    inputs=[TensorSpec("image", ("images", 8)), TensorSpec("text", ("texts", 6))],
    axes={"images": (1, 9), "texts": (1, 7)},
)
def images_by_texts():
    return ImageText()


class Detector(nn.Module):
    """Boxes of one image whose score is no lower than that of any that covers half of them."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(16, 50)

    def forward(self, x):
        from torchvision.ops import nms

        corner, size, score = self.net(x).split((20, 20, 10))
        corner, size = corner.reshape(10, 2), size.reshape(10, 2).abs()
        boxes, scores = torch.cat([corner, corner + size], 1), torch.sigmoid(score)
        kept = nms(boxes, scores, 0.3)
        return boxes[kept], scores[kept]


@register_model("detector", inputs=[TensorSpec("x", (16,), domain=Bounded(-1, 1))])
def detector():
    return Detector()


class SequenceFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.RNN(6, 16), nn.Linear(16, 3)

    def forward(self, x):
        every, last = self.rnn(x)
        return self.head(every), last


@register_model("sequence_first", inputs=[TensorSpec("x", ("time", "batch", 6))])
def sequence_first():
    return SequenceFirst()


class DecoderStep(nn.Module):
    """The new token sees the past; the mask is as long as both."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(60, 16), nn.Linear(16, 60)
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, token, past_key, past_value, mask):
        x = self.embed(token)
        key, value = torch.cat([past_key, self.k(x)], 1), torch.cat([past_value, self.v(x)], 1)
        scores = self.q(x) @ key.transpose(1, 2) / 4.0
        scores = scores.masked_fill(mask[:, None, :] == 0, -1e9)
        return self.head(scores.softmax(-1) @ value), key, value


@register_model(
    "step_of_a_decoder",
    inputs=[
        TensorSpec("token", ("batch", 1), "int64", domain=Integers(0, 60)),
        TensorSpec("past_key", ("batch", "past", 16)),
        TensorSpec("past_value", ("batch", "past", 16)),
        TensorSpec("mask", ("batch", "past+1"), "int64", domain=Mask()),
    ],
    axes={"past": (1, 12)},
)
def step_of_a_decoder():
    return DecoderStep()


class Graph(nn.Module):
    """Each node hears of its neighbours; ``edges`` are pairs of nodes."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x, edges):
        h = torch.relu(self.a(x))
        return self.b(torch.zeros_like(h).index_add(0, edges[1], h[edges[0]]) + h)


@register_model(
    "graph_network",
    inputs=[
        TensorSpec("x", ("nodes", 5)),
        TensorSpec("edges", (2, "edges"), "int64", domain=Integers(0, 4)),
    ],
    axes={"nodes": (4, 12), "edges": (1, 20)},
)
def graph_network():
    return Graph()
