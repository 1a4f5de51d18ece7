"""LSTMs over sequences of any length, batch first; a linear layer reads the last state.

ONNX Runtime ends its own process when an LSTM is given no samples, and turns NaN into a number.
The checks ``empty_batch`` and ``nonfinite`` find both and tell them of ``lstm`` as edge findings,
which do not affect the verdict; known_failures.yaml says why. ``lstm_guarded`` works around them.
"""

import torch
from torch import nn

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Bounded
from onnx_conformance.core.spec import TensorSpec

FEATURES = 6


class Forecaster(nn.Module):
    """Predicts the next 2 values of a series."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, hidden_size=16, num_layers=2, batch_first=True)
        self.head = nn.Linear(16, 2)

    def forward(self, series):
        states, _ = self.lstm(series)
        return self.head(states[:, -1])


class Guarded(Forecaster):
    """A sample of zeros goes along and is dropped again, so no batch is ever empty."""

    def forward(self, series):
        zeros = series.new_zeros(1, series.shape[1], FEATURES)
        return super().forward(torch.cat([series, zeros]))[:-1]


@register_model(
    "lstm",
    inputs=[TensorSpec("series", ("batch", "time", FEATURES))],
    axes={"time": (1, 20)},
)
def lstm():
    return Forecaster()


@register_model(
    "lstm_guarded",
    # Bounded: these readings are never NaN, so no check feeds it.
    inputs=[TensorSpec("series", ("batch", "time", FEATURES), domain=Bounded(-10, 10))],
    axes={"time": (1, 20)},
)
def lstm_guarded():
    return Guarded()
