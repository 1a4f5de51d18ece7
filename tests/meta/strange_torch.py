"""Torch models that compute in float32 on purpose, keep what they computed, or branch on data."""

import torch
from torch import nn
from torch.nn import functional as F


class RootMeanSquare(nn.Module):
    """As in Llama and T5."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, x):
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.out = RootMeanSquare(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.register_buffer("frequencies", 1.0 / 10000 ** (torch.arange(0, 8, 2) / 8))

    def turned(self, x):
        places = torch.arange(x.shape[2], dtype=torch.float32)
        angles = torch.outer(places, self.frequencies.float()).repeat(1, 2)
        half = torch.cat((-x[..., 4:], x[..., :4]), -1)
        return x * angles.cos().to(x.dtype) + half * angles.sin().to(x.dtype)

    def forward(self, x):
        parts = self.qkv(self.norm(x)).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        query, key, value = self.turned(parts[0]), self.turned(parts[1]), parts[2]
        scores = query @ key.transpose(-1, -2) / 8**0.5
        future = torch.full(scores.shape[-2:], torch.finfo(torch.float32).min).triu(1)
        weights = F.softmax(scores + future, -1, dtype=torch.float32).to(query.dtype)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


def llama():
    return Llama()


class Masked(nn.Module):
    def forward(self, x, mask):
        hidden = (1.0 - mask) * torch.finfo(x.dtype).min
        return (x + hidden).softmax(-1)


def masked():
    return Masked()


class Positions(nn.Module):
    def forward(self, x):
        kept = F.one_hot(x.argmax(-1), 6).float()
        return (kept.double() if x.dtype == torch.float64 else kept) + x


def positions():
    return Positions()


def weight_norm():
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 4)), nn.ReLU())


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: self.a(x), lambda x: self.b(x), (x,))


def branch():
    return Branch()


class Temperature(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.3))

    def forward(self, x):
        return x * self.scale


def temperature():
    return Temperature()


class Longest(nn.Module):
    def forward(self, x):
        return x.topk(2, 1)


def longest():
    return Longest()


class FirstPositive(nn.Module):
    def forward(self, x):
        return x, (x > 0).int().argmax(1)


def first_positive():
    return FirstPositive()


def summed():
    return nn.Sequential(nn.Flatten(), Sum())


class Sum(nn.Module):
    def forward(self, x):
        return x.sum(1, keepdim=True)


def group_norm():
    return nn.GroupNorm(2, 4)


def batch_statistics():
    return nn.BatchNorm1d(4, track_running_stats=False)
