"""Alive weights for torch models, without a download (the reasons: docs/numerics.md).

BatchNorm statistics are those of real activations, residual branches are calm, and every
logit moves: a reference whose output barely depends on its input shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from onnx_conformance.inputs.recipes import calibration_batch
from onnx_conformance.workers.torch.modes import tensors_in

BATCHES, BATCH_SIZE = 3, 8
LOGIT_STD = 2.0
NORM_GAIN, BIAS = (0.7, 1.3), 0.1
FAINT = 0.01  # below which a layer scale lets nothing of its branch through, and a bias is none
BRANCH_GAIN = 0.3
SMALL_SIDE = 96  # pixels; statistics barely depend on the size, the time does

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def calibrate(module: nn.Module, shape: tuple[int | str, ...], seed: int) -> None:
    """Give ``module`` seeded weights whose outputs depend on its inputs, in place.

    Args:
        shape: the first input's, with a symbolic batch axis.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = _batches(module, shape, seed)
    draw_gains_and_biases(module, seed)
    _wake_branches(module, generator)
    calibrate_norms(module, batches, generator)
    _set_head(module, batches, generator)


def calibrate_norms(module: nn.Module, batches: list[Any], generator: torch.Generator) -> None:
    """Give BatchNorms seeded gains and biases, and the statistics of ``batches``, in place."""
    norms = [part for part in module.modules() if isinstance(part, _NORMS)]
    for norm in norms:
        nn.init.uniform_(norm.weight, *NORM_GAIN, generator=generator)
        nn.init.normal_(norm.bias, 0.5, 0.2, generator=generator)
    for norm in _branch_ends(module):
        norm.weight.data *= BRANCH_GAIN
    _set_statistics(module, norms, batches)


@torch.no_grad()
def draw_gains_and_biases(module: nn.Module, seed: int) -> None:
    """Give gains that are 1 throughout and biases that are about 0 seeded values, in place.

    A converter that drops them would make the same function. Tables of relative positions are
    biases too; BatchNorms have draws of their own.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in (one for one in module.modules() if not isinstance(one, _NORMS)):
        for name, value in part.named_parameters(recurse=False):
            if not value.is_floating_point() or value.numel() < 2:
                continue
            if name == "weight" and value.ndim == 1 and bool((value == 1).all()):
                value.uniform_(*NORM_GAIN, generator=generator)
            elif "bias" in name and float(value.abs().max()) < FAINT:
                value.normal_(0.0, BIAS, generator=generator)


def _wake_branches(module: nn.Module, generator: torch.Generator) -> None:
    """Layer scales as if trained: one small number throughout at first (CaiT, ConvNeXt)."""
    for scale in module.parameters():
        vector = scale.numel() > 1 and scale.numel() == max(scale.shape)
        if not (vector and scale.is_floating_point()):
            continue
        first = float(scale.detach().flatten()[0])
        if 0.0 < first < FAINT and bool((scale == first).all()):
            nn.init.uniform_(scale, 0.7 * BRANCH_GAIN, 1.3 * BRANCH_GAIN, generator=generator)


def _batches(module: nn.Module, shape: tuple[int | str, ...], seed: int) -> list[torch.Tensor]:
    full = [dim for dim in shape if isinstance(dim, int)]
    small = [min(dim, SMALL_SIDE) if len(full) == 3 else dim for dim in full]
    sizes = small if takes(module, small) else full
    return [
        torch.from_numpy(calibration_batch((BATCH_SIZE, *sizes), seed + index))
        for index in range(BATCHES)
    ]


def takes(module: nn.Module, sizes: Sequence[int]) -> bool:
    """Whether the model takes a sample of these sizes; a vision transformer takes one size only."""
    try:
        with torch.inference_mode():
            module(torch.zeros(1, *sizes))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def _branch_ends(module: nn.Module) -> list[Any]:
    """The BatchNorm that ends each residual branch: what an addition adds to its shortcut.

    Where both sides end in one (a shortcut with a projection), the deeper side is the branch.
    """
    try:
        graph = fx.symbolic_trace(module).graph
    except (fx.proxy.TraceError, TypeError, NameError, RuntimeError):
        return []  # calm branches are a refinement: what fx cannot trace goes without
    parts = dict(module.named_modules())
    depth: dict[fx.Node, int] = {}
    ends = []
    for node in graph.nodes:
        depth[node] = 1 + max((depth[source] for source in node.all_input_nodes), default=0)
        if getattr(node.target, "__name__", node.target) not in ("add", "iadd", "add_"):
            continue
        norms = [
            source
            for source in node.all_input_nodes
            if source.op == "call_module" and isinstance(parts.get(str(source.target)), _NORMS)
        ]
        if norms:
            ends.append(parts[str(max(norms, key=lambda source: depth[source]).target)])
    return ends


def _set_statistics(module: nn.Module, norms: list[Any], batches: list[Any]) -> None:
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average over the batches
        norm.train()
    with torch.inference_mode():
        for batch in batches:
            module(batch)
    module.eval()


def _set_head(module: nn.Module, batches: list[torch.Tensor], generator: torch.Generator) -> None:
    """Random rows in the last layer, each scaled so that its logit has the wanted spread."""
    called: list[nn.Module] = []
    heads = [part for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    hooks = [part.register_forward_hook(lambda part, *_: called.append(part)) for part in heads]
    with torch.inference_mode():
        module(batches[0])
    for hook in hooks:
        hook.remove()
    if not called:
        return
    head: Any = called[-1]
    nn.init.normal_(head.weight, 0.0, 1.0 / math.sqrt(head.weight[0].numel()), generator=generator)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    logits = torch.cat(_head_outputs(module, head, batches))
    axes = [axis for axis in range(logits.dim()) if axis != 1]
    gain = LOGIT_STD / logits.std(dim=axes).clamp_min(1e-12)
    head.weight.data *= gain.reshape(-1, *[1] * (head.weight.dim() - 1))
    if head.bias is None:
        return
    head.bias.data = -logits.mean(dim=axes) * gain
    if _clips(module, batches[0]):
        head.bias.data = -logits.amin(dim=axes) * gain


def _clips(module: nn.Module, batch: torch.Tensor) -> bool:
    """Whether the head's outputs pass through an activation that has no negative values.

    Centred logits are negative half of the time, and a class is dead to inputs where they are.
    """
    with torch.inference_mode():
        return any(bool((tensor == 0).any()) for tensor in tensors_in(module(batch)))


def _head_outputs(
    module: nn.Module, head: nn.Module, batches: list[torch.Tensor]
) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = []

    def keep(part: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        outputs.append(output.clone())  # an activation may overwrite it in place

    hook = head.register_forward_hook(keep)
    with torch.inference_mode():
        for batch in batches:
            module(batch)
    hook.remove()
    return outputs
