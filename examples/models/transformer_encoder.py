"""A transformer encoder: token ids and a mask in, two outputs by name, any sequence length."""

import torch
from torch import nn

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Integers, Mask
from onnx_conformance.core.spec import TensorSpec

WORDS, LONGEST, WIDTH, HEADS, LAYERS = 97, 32, 32, 4, 2


class SelfAttention(nn.Module):
    """Several heads; padding is hidden from all of them."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.value, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, visible):
        # batch, sequence, width -> batch, heads, sequence, width of a head
        q, k, v = (
            part(x).unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5
        scores = scores.masked_fill(~visible[:, None, None, :], float("-inf"))
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a feed-forward layer with GELU; each normalised and added."""

    def __init__(self):
        super().__init__()
        self.attention, self.norm_1, self.norm_2 = (
            SelfAttention(),
            nn.LayerNorm(WIDTH),
            nn.LayerNorm(WIDTH),
        )
        self.feed_forward = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x, visible):
        x = self.norm_1(x + self.attention(x, visible))
        return self.norm_2(x + self.feed_forward(x))


class Encoder(nn.Module):
    """Returns a dict, as Hugging Face's encoders do."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LONGEST, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.pooler = nn.Linear(WIDTH, WIDTH)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x, attention_mask)
        return {"last_hidden_state": x, "pooled": torch.tanh(self.pooler(x[:, 0]))}


@register_model(
    "transformer_encoder",
    inputs=[
        # A name in a shape is a symbolic axis; the first is the batch.
        TensorSpec("input_ids", ("batch", "sequence"), "int64", domain=Integers(0, WORDS)),
        TensorSpec("attention_mask", ("batch", "sequence"), "bool", domain=Mask()),
    ],
    # Sizes that the sequence takes: inputs have the smallest, the largest and some between.
    axes={"sequence": (1, LONGEST)},
)
def transformer_encoder():
    return Encoder()
