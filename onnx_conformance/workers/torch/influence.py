"""How much of a torch module's tensors its outputs depend on. Runs in the worker's process."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from onnx_conformance.workers.torch.modes import tensors_in


def influence(
    module: torch.nn.Module,
    names: list[str],
    examples: Iterable[tuple[torch.Tensor, ...]],
    least: float,
) -> dict[str, float]:
    """Which share of each tensor's elements moves the outputs, over all examples.

    An element moves them if the gradient by it of a sum of the outputs, each with a random sign,
    is more than ``least`` times the root mean square over its tensor.

    Raises:
        RuntimeError: an operator has no gradient.
    """
    state = module.state_dict(keep_vars=True)
    tensors = {n: state[n] for n in names if state[n].is_floating_point() or state[n].is_complex()}
    before = {name: tensor.requires_grad for name, tensor in tensors.items()}
    total = {name: torch.zeros_like(tensor).abs() for name, tensor in tensors.items()}
    signs = torch.Generator().manual_seed(0)
    try:
        for tensor in tensors.values():
            tensor.requires_grad_(True)
        for example in examples:
            results = [one for one in tensors_in(module(*example)) if one.requires_grad]
            if not results:
                continue
            mixed = torch.stack([(one * _signs(one, signs)).sum() for one in results]).sum()
            grads = torch.autograd.grad(mixed, list(tensors.values()), allow_unused=True)
            for name, grad in zip(tensors, grads, strict=True):
                if grad is not None:
                    total[name] += grad.abs().nan_to_num(0.0, 0.0, 0.0)
    finally:
        for name, tensor in tensors.items():
            tensor.requires_grad_(before[name])
    return {name: _share(total[name], least) if name in total else 0.0 for name in names}


def _signs(result: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    drawn = torch.randint(0, 2, result.shape, generator=generator)
    return (2 * drawn - 1).to(result.dtype)


def _share(total: torch.Tensor, least: float) -> float:
    if not total.numel():
        return 0.0
    size = total.double().square().mean().sqrt()
    return float((total > least * size).double().mean()) if size > 0 else 0.0
