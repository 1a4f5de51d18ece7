"""The geometry of convolutions and pools: what a window covers, and which edits keep the shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from studies.corpus.drafts import Draft, Mutant, attribute, remove_attribute, set_attribute


@dataclass(frozen=True)
class Window:
    """A convolution's or pool's window over spatial axes; every tuple has one entry an axis.

    Args:
        size: the input's extent, 0 where it is not known.
        before, after: padding at either end; the rest as in the ONNX operators.
    """

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def pads(self) -> list[int]:
        """Padding in ONNX's order: all beginnings, then all ends."""
        return [*self.before, *self.after]

    @property
    def output(self) -> tuple[int, ...]:
        """The result's extent; meaningless on an axis whose input is not known."""
        axes = zip(
            self.size, self.kernel, self.stride, self.dilation, self.before, self.after, strict=True
        )
        return tuple((n + b + a - d * (k - 1) - 1) // s + 1 for n, k, s, d, b, a in axes)

    @property
    def reads_padding(self) -> bool:
        """Whether some window reaches into the padding; where nothing is known, it may."""
        axes = zip(
            self.size,
            self.kernel,
            self.stride,
            self.dilation,
            self.before,
            self.output,
            strict=True,
        )
        ends = [(o - 1) * s + d * (k - 1) + 1 - b for _, k, s, d, b, o in axes]
        reached = any(end > n for end, n in zip(ends, self.size, strict=True))
        return any(self.before) or (any(self.after) and (reached or not self.is_known))

    @property
    def is_known(self) -> bool:
        """Whether the input's extent is known, so that shapes can be compared."""
        return all(self.size)

    def same(self, *, lower: bool = False) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The padding of auto_pad SAME_UPPER (or SAME_LOWER): before and after."""
        axes = zip(self.size, self.kernel, self.stride, self.dilation, strict=True)
        totals = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0) for n, k, s, d in axes]
        small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
        return (large, small) if lower else (small, large)


def window(draft: Draft, node: onnx.NodeProto) -> Window | None:
    """The window of a Conv, MaxPool, AveragePool or LpPool with plain pads; else None."""
    shape = draft.shapes.get(node.input[0], ())
    kernel = attribute(node, "kernel_shape")
    if kernel is None and node.op_type == "Conv" and draft.is_constant(node.input[1]):
        kernel = draft.array(node.input[1]).shape[2:]
    automatic = attribute(node, "auto_pad", b"NOTSET").decode()
    if kernel is None or automatic not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        return None
    axes = len(kernel)
    size = tuple(n if isinstance(n, int) else 0 for n in shape[2:]) if shape else (0,) * axes
    pads = attribute(node, "pads", [0] * 2 * axes)
    found = Window(
        size,
        tuple(kernel),
        tuple(attribute(node, "strides", [1] * axes)),
        tuple(attribute(node, "dilations", [1] * axes)),
        tuple(pads[:axes]),
        tuple(pads[axes:]),
    )
    if automatic.startswith("SAME"):
        if not found.is_known:
            return None
        before, after = found.same(lower=automatic == "SAME_LOWER")
        return Window(found.size, found.kernel, found.stride, found.dilation, before, after)
    return found


def windows(draft: Draft, *operators: str) -> Iterator[tuple[onnx.NodeProto, Window]]:
    """The nodes of these operators that have a known window over one axis or more."""
    for node in draft.nodes(*operators):
        found = window(draft, node)
        if found is not None and found.kernel:
            yield node, found


def set_window(
    mutant: Mutant,
    *,
    name: str,
    pads: list[int] | None = None,
    strides: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    kernel_shape: tuple[int, ...] | None = None,
) -> None:
    """Give a node another window."""
    node = mutant.node(name)
    new = {"strides": strides, "dilations": dilations, "kernel_shape": kernel_shape}
    if pads is not None:
        remove_attribute(node, "auto_pad")
        set_attribute(node, "pads", pads)
    for key, value in new.items():
        if value is not None:
            set_attribute(node, key, list(value))
