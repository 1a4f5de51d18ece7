"""What a BatchNorm whose factor is 0 takes away: its statistics, the kernel before it and its bias.

Residual blocks begin so (Goyal et al. 2017, section 5.1). Folded, the file holds a kernel of zeros
and the BatchNorm's beta. Exporters store equal constants once: one such kernel may be that of
several layers, but of no more than there are such BatchNorms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from onnx_conformance.checks.audit.graph_names import SwapDetector, module_of
from onnx_conformance.checks.audit.matches import Fold
from onnx_conformance.core.arrays import Array


class ZeroFactors:
    """The native tensors that BatchNorms multiply by 0, as the file's kernels of zeros show.

    Args:
        present: the native tensors that initialisers hold.
        leftovers: sizes of the initialisers without explanation, any of which may be an absent
            tensor, damaged.
    """

    def __init__(
        self,
        weights: Mapping[str, Array],
        folds: Sequence[Fold],
        swaps: SwapDetector,
        present: Collection[str],
        leftovers: Collection[int],
    ) -> None:
        self._leftovers = leftovers
        zeros = {i: fold for i, fold in enumerate(folds) if not np.any(fold.factor)}
        self._statistics = {n for fold in zeros.values() for n in (fold.scale[-1], fold.shift[-1])}
        channels = {
            match.natives[0]: fold.factor.size
            for index, fold in zeros.items()
            for match in swaps.kernels_of(index)
            if match.natives[0] in weights
        }
        unseen = Counter(fold.factor.size for fold in zeros.values())
        unseen.subtract(channels.values())
        by_shape = {weights[native].shape: size for native, size in channels.items()}
        self._kernels = set(channels)
        for native, array in weights.items():
            size = by_shape.get(array.shape, -1)
            if native not in present and unseen[size] > 0 and array.size not in leftovers:
                self._kernels.add(native)
                unseen[size] -= 1
        self._modules = {module_of(native) for native in self._kernels}

    def why_absent(self, native: str, array: Array) -> str | None:
        """Why the file need not hold a tensor; None if it must."""
        bias = array.size == max(array.shape, default=0) and module_of(native) in self._modules
        taken = native in self._kernels or (bias and array.size not in self._leftovers)
        if native not in self._statistics and not taken:
            return None
        return "its BatchNorm multiplies it by 0"
