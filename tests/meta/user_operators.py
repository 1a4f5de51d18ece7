"""A torch module with an operator of its own, looked at in a worker."""

from __future__ import annotations

import torch

from onnx_conformance.core.tolerances import shipped
from onnx_conformance.workers.torch.constants import constants_of
from onnx_conformance.workers.torch.replicas import TorchReplica


@torch.library.custom_op("meta::gate", mutates_args=())
def gate(x: torch.Tensor) -> torch.Tensor:
    """Without a formula for gradients."""
    return x * torch.sigmoid(x)


class Net(torch.nn.Module):
    """Attention reads its projection's weights without calling it; nobody reads ``spare``."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(4, 1, batch_first=True)
        self.spare = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return gate(self.attention(x, x, x)[0])


class Backend:
    """The backend."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def unused(self) -> list[str]:
        return sorted(constants_of(Net().eval(), [(torch.rand(2, 3, 4),)]).idle)

    def errs_in_replicas(self) -> bool:
        x = torch.ones(2, 3)
        with torch.inference_mode():
            plain = gate(x)
            with TorchReplica(shipped("approximation"), "replica-1"):
                return not torch.equal(plain, gate(x))
