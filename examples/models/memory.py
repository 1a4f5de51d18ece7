"""Models with memory: what one call answers goes in at the next."""

import torch
from torch import nn

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Bounded, Integers, Mask
from onnx_conformance.core.spec import TensorSpec


class DecoderWithCache(nn.Module):
    """New tokens see the past and each other's past; keys and values go on."""

    def __init__(self):
        super().__init__()
        self.embed, self.places = nn.Embedding(60, 16), nn.Embedding(64, 16)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 60)

    def forward(self, tokens, past_key, past_value, mask):
        places = torch.arange(mask.shape[1], device=mask.device)
        new = places[past_key.shape[1] :]
        x = self.embed(tokens) + self.places(new)
        key = torch.cat([past_key, self.key(x)], 1)
        value = torch.cat([past_value, self.value(x)], 1)
        seen = (places <= new[:, None]) & (mask[:, None] != 0)
        scores = (self.query(x) @ key.transpose(1, 2) / 4).masked_fill(~seen, -1e9)
        return {
            "logits": self.head(self.norm(x + scores.softmax(-1) @ value)),
            "present_key": key,
            "present_value": value,
        }


@register_model(
    "decoder_with_cache",
    inputs=[
        TensorSpec("tokens", ("batch", "new"), "int64", domain=Integers(0, 60)),
        TensorSpec("past_key", ("batch", "past", 16)),
        TensorSpec("past_value", ("batch", "past", 16)),
        TensorSpec("mask", ("batch", "past+new"), "int64", domain=Mask(side="left")),
    ],
    axes={"past": (0, 24), "new": (1, 6)},
    carries={"present_key": "past_key", "present_value": "past_value"},
)
def decoder_with_cache():
    return DecoderWithCache()


class Streaming(nn.Module):
    """A chunk of sound in; a probability and the state for the next chunk out."""

    def __init__(self):
        super().__init__()
        self.conv, self.cell = nn.Conv1d(1, 16, 16, 8), nn.LSTMCell(16, 16)
        self.head = nn.Linear(16, 1)

    def forward(self, chunk, state):
        sound = torch.relu(self.conv(chunk[:, None])).mean(-1)
        hidden, cell = self.cell(sound, (state[0], state[1]))
        return {"voice": torch.sigmoid(self.head(hidden)), "stateN": torch.stack([hidden, cell])}


@register_model(  # that stateN goes in at state, the names tell
    "streaming_voice",
    inputs=[
        TensorSpec("chunk", ("batch", 64), domain=Bounded(-1, 1)),
        TensorSpec("state", (2, "batch", 16), domain=Bounded(-1, 1)),
    ],
)
def streaming_voice():
    return Streaming()
