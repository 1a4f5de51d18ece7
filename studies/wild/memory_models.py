"""Models with memory as people deploy them: decoders of two layers with their cache, a stream."""

import torch
from torch import nn
from torch.nn import functional as F

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Bounded, Integers, Mask
from onnx_conformance.core.spec import TensorSpec

LAYERS, WIDTH, HEADS, SIZE, TOKENS = 2, 32, 4, 8, 48
AXES = {"past": (0, 20), "new": (1, 4)}


def cache_inputs(heads):
    return [
        TensorSpec(f"past_{kind}_{layer}", ("batch", heads, "past", SIZE))
        for layer in range(LAYERS)
        for kind in ("key", "value")
    ]


def decoder_inputs(heads=HEADS):
    return [
        TensorSpec("input_ids", ("batch", "new"), "int64", domain=Integers(0, TOKENS)),
        TensorSpec("attention_mask", ("batch", "past+new"), "int64", domain=Mask(side="left")),
        *cache_inputs(heads),
    ]


def split(x, heads):
    return x.unflatten(-1, (heads, SIZE)).transpose(1, 2)


def attend(query, key, value, bias):
    repeats = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(repeats, 1) for x in (key, value))
    scores = query @ key.transpose(-1, -2) * SIZE**-0.5 + bias
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


def causal(mask, new, dtype):
    """What is added to scores: the past and what came before, without padding."""
    places = torch.arange(mask.shape[1], device=mask.device)
    seen = (places <= places[-new:, None]) & (mask[:, None, None] != 0)
    return torch.where(seen, 0.0, -1e4).to(dtype)


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(1 + 0.2 * torch.randn(WIDTH))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


def rotated(x, places, base):
    frequencies = base ** -(torch.arange(0, SIZE, 2, device=x.device) / SIZE)
    angles = (places[:, None, :, None] * frequencies).to(x.dtype)
    one, other = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([one * cos - other * sin, other * cos + one * sin], -1)


class RotaryLayer(nn.Module):
    """Grouped queries, rotary positions, a gated MLP: Llama; with biases and head norms: Qwen."""

    def __init__(self, qwen, base):
        super().__init__()
        kept = HEADS // 2 * SIZE
        self.query = nn.Linear(WIDTH, WIDTH, bias=qwen)
        self.key, self.value = (nn.Linear(WIDTH, kept, bias=qwen) for _ in range(2))
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate, self.up = (nn.Linear(WIDTH, 48, bias=False) for _ in range(2))
        self.down = nn.Linear(48, WIDTH, bias=False)
        self.before, self.between = RMSNorm(), RMSNorm()
        self.scales = nn.Parameter(1 + 0.2 * torch.randn(2, SIZE)) if qwen else None
        self.base = base

    def normed(self, x, number):
        if self.scales is None:
            return x
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.scales[number]

    def forward(self, x, past_key, past_value, places, bias):
        h = self.before(x)
        query = rotated(self.normed(split(self.query(h), HEADS), 0), places, self.base)
        key = rotated(self.normed(split(self.key(h), HEADS // 2), 1), places, self.base)
        key = torch.cat([past_key, key], 2)
        value = torch.cat([past_value, split(self.value(h), HEADS // 2)], 2)
        x = x + self.out(attend(query, key, value, bias))
        h = self.between(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h)), key, value


class RotaryDecoder(nn.Module):
    """Positions count what is not padded."""

    def __init__(self, qwen, base):
        super().__init__()
        self.embed, self.norm = nn.Embedding(TOKENS, WIDTH), RMSNorm()
        self.layers = nn.ModuleList(RotaryLayer(qwen, base) for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, TOKENS, bias=False)

    def forward(self, ids, mask, *past):
        new = ids.shape[1]
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -new:]
        x, found = self.embed(ids), {}
        bias = causal(mask, new, x.dtype)
        for number, layer in enumerate(self.layers):
            x, key, value = layer(x, *past[2 * number : 2 * number + 2], places, bias)
            found |= {f"present_key_{number}": key, f"present_value_{number}": value}
        return {"logits": self.head(self.norm(x)), **found}


@register_model("llama_like", inputs=decoder_inputs(HEADS // 2), axes=AXES)
def llama_like():
    return RotaryDecoder(qwen=False, base=100.0)


@register_model("qwen_like", inputs=decoder_inputs(HEADS // 2), axes=AXES)
def qwen_like():
    return RotaryDecoder(qwen=True, base=1000.0)


class Block(nn.Module):
    """Self-attention with a cache, attention to what an encoder said if there is one, an MLP."""

    def __init__(self, norm, activation, crossed, bias=True):
        super().__init__()
        self.own = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=bias) for _ in range(4))
        self.cross = nn.ModuleList(
            nn.Linear(WIDTH, WIDTH, bias=bias) for _ in range(4 if crossed else 0)
        )
        self.norms = nn.ModuleList(norm() for _ in range(3))
        self.up, self.down = nn.Linear(WIDTH, 64, bias=bias), nn.Linear(64, WIDTH, bias=bias)
        self.activation = activation

    def forward(self, x, past_key, past_value, bias, said=None, said_bias=None):
        query, key, value, out = self.own
        h = self.norms[0](x)
        keys = torch.cat([past_key, split(key(h), HEADS)], 2)
        values = torch.cat([past_value, split(value(h), HEADS)], 2)
        x = x + out(attend(split(query(h), HEADS), keys, values, bias))
        if said is not None:
            query, key, value, out = self.cross
            h = split(query(self.norms[1](x)), HEADS)
            x = x + out(attend(h, split(key(said), HEADS), split(value(said), HEADS), said_bias))
        return x + self.down(self.activation(self.up(self.norms[2](x)))), keys, values


class LearnedDecoder(nn.Module):
    """Positions of a table: as in GPT-2; beside what an encoder said, Whisper's decoder."""

    def __init__(self, crossed):
        super().__init__()
        self.embed, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(32, WIDTH)
        activation = nn.GELU() if crossed else nn.GELU(approximate="tanh")
        self.layers = nn.ModuleList(
            Block(lambda: nn.LayerNorm(WIDTH), activation, crossed) for _ in range(LAYERS)
        )
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ids, mask, *others):
        past, said = others[: 2 * LAYERS], others[2 * LAYERS :]
        new = ids.shape[1]
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -new:]
        x, found = self.embed(ids) + self.places(places), {}
        bias = causal(mask, new, x.dtype)
        heard = (said[0], torch.zeros((), dtype=x.dtype, device=x.device)) if said else ()
        for number, layer in enumerate(self.layers):
            x, key, value = layer(x, *past[2 * number : 2 * number + 2], bias, *heard)
            found |= {f"present_key_{number}": key, f"present_value_{number}": value}
        return {"logits": self.norm(x) @ self.embed.weight.T, **found}


@register_model("gpt2_like", inputs=decoder_inputs(), axes=AXES)
def gpt2_like():
    return LearnedDecoder(crossed=False)


@register_model(
    "whisper_decoder_like",
    inputs=[*decoder_inputs(), TensorSpec("encoder_hidden_states", ("batch", "frames", WIDTH))],
    axes={**AXES, "frames": (4, 12)},
)
def whisper_decoder_like():
    return LearnedDecoder(crossed=True)


class T5Decoder(nn.Module):
    """Learned biases for how far apart places are; what an encoder said, with its padding."""

    def __init__(self):
        super().__init__()
        self.embed, self.apart = nn.Embedding(TOKENS, WIDTH), nn.Embedding(8, HEADS)
        self.layers = nn.ModuleList(
            Block(RMSNorm, nn.ReLU(), crossed=True, bias=False) for _ in range(LAYERS)
        )
        self.norm = RMSNorm()
        self.head = nn.Linear(WIDTH, TOKENS, bias=False)

    def forward(self, ids, said, said_mask, *past):
        old, new = past[0].shape[2], ids.shape[1]
        places = torch.arange(old + new, device=ids.device)
        apart = places[old:, None] - places
        x, found = self.embed(ids), {}
        near = self.apart(apart.clamp(0, 7)).permute(2, 0, 1)
        bias = near + torch.where(apart < 0, -1e4, 0.0).to(x.dtype)
        said_bias = torch.where(said_mask[:, None, None] == 0, -1e4, 0.0).to(x.dtype)
        for number, layer in enumerate(self.layers):
            x, key, value = layer(x, *past[2 * number : 2 * number + 2], bias, said, said_bias)
            found |= {f"present_key_{number}": key, f"present_value_{number}": value}
        return {"logits": self.head(self.norm(x)), **found}


@register_model(
    "t5_decoder_like",
    inputs=[
        TensorSpec("decoder_input_ids", ("batch", "new"), "int64", domain=Integers(0, TOKENS)),
        TensorSpec("encoder_hidden_states", ("batch", "said", WIDTH)),
        TensorSpec("encoder_attention_mask", ("batch", "said"), "int64", domain=Mask()),
        *cache_inputs(HEADS),
    ],
    axes={**AXES, "said": (1, 8)},
)
def t5_decoder_like():
    return T5Decoder()


class VoiceActivity(nn.Module):
    """As Silero's: a chunk beside the end of the one before, magnitudes, an LSTM with its state."""

    def __init__(self):
        super().__init__()
        self.waves = nn.Conv1d(1, 18, 16, stride=8, bias=False)
        self.encoder = nn.Sequential(
            nn.Conv1d(9, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(16, 16, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.cell, self.head = nn.LSTMCell(16, 16), nn.Conv1d(16, 1, 1)

    def forward(self, input, context, state):
        sound = torch.cat([context, input], 1)[:, None]
        real, imaginary = self.waves(sound).chunk(2, 1)
        x = self.encoder(torch.sqrt(real.square() + imaginary.square() + 1e-4)).mean(-1)
        hidden, cell = self.cell(x, (state[0], state[1]))
        return {
            "output": torch.sigmoid(self.head(F.relu(hidden)[..., None])).mean(-1),
            "new_context": input[:, -16:],
            "stateN": torch.stack([hidden, cell]),
        }


@register_model(
    "vad_like",
    inputs=[
        TensorSpec("input", ("batch", 64), domain=Bounded(-1, 1)),
        TensorSpec("context", ("batch", 16), domain=Bounded(-1, 1)),
        TensorSpec("state", (2, "batch", 16), domain=Bounded(-1, 1)),
    ],
    carries={"stateN": "state", "new_context": "context"},
)
def vad_like():
    return VoiceActivity()
