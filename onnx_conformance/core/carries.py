"""Memory of a model: outputs that the next call gets as inputs.

A model says so by ``carries={"present_key": "past_key"}``, or its names do: ``present.0.key`` and
``past_key_values.0.key``, ``hn`` and ``h``, ``stateN`` and ``state``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from onnx_conformance.core.arrays import Array, Outputs, from_text
from onnx_conformance.core.domains import Integers
from onnx_conformance.core.size_expressions import evaluate, is_expression, names_in
from onnx_conformance.core.spec import BATCH_NAMES, ModelSpec, Shape, TensorSpec

Carries = tuple[tuple[str, str], ...]  # pairs of an output and an input
# Words that tell a new value from an old one, and those that name a state.
NEW = frozenset(("new", "next", "out", "output", "updated", "n"))
OLD = frozenset(("old", "prev", "previous", "last", "in", "input", "init", "initial"))
STATES = frozenset(
    ("state", "states", "past", "hidden", "cell", "memory", "cache", "carry", "h", "c")
    + ("buffer", "buffers", "context", "counter")
)
SPELLINGS = (
    (re.compile(r"past_key_values|present_key_values|present"), "past"),
    (re.compile(r"^([hc])_?0$"), r"\1_in"),  # as torch documents its recurrent layers
    (re.compile(r"^([hc])n$"), r"\1_n"),
    (re.compile(r"(?<=[a-z])N$"), "_n"),
)
TOKENS = re.compile(r"token|(^|_)ids?$")
NO_TOKENS = re.compile(r"position|type|segment")  # as many whole numbers as tokens, and no tokens


def _words(name: str) -> list[str]:
    """The words of a name, as states are spelt."""
    for pattern, plain in SPELLINGS:
        name = pattern.sub(plain, name)
    return [word for word in re.split(r"[._/:]+", name.lower()) if word]


def _stem(name: str, marks: frozenset[str]) -> tuple[str, ...]:
    """The words of a name, without what tells an old value from a new one."""
    return tuple(word for word in _words(name) if word not in marks)


def inferred_carries(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Carries:
    """The outputs and inputs that pair up by name, of which each pair has one shape.

    Names of a state, the same but for what says "old" or "new" in them.
    """
    alike = named_alike([spec.name for spec in outputs], [spec.name for spec in inputs])
    found = [pair for pair in alike if not carry_problem(inputs, outputs, (pair,))]
    once = [name for _, name in found]
    return tuple(pair for pair in found if once.count(pair[1]) == 1)


def named_alike(outputs: Sequence[str], inputs: Sequence[str]) -> list[tuple[str, str]]:
    """The outputs and inputs whose names are a state's, the same but for "old" and "new"."""
    pairs = _paired(outputs, inputs)
    return [pair for pair in pairs if STATES & set(_stem(pair[0], NEW))]


def marked_alike(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Carries:
    """Further pairs that may be a state's: "old" or "new" marks one, and the shapes agree."""
    pairs = _paired([spec.name for spec in outputs], [spec.name for spec in inputs])
    return tuple(
        pair
        for pair in pairs
        if NEW & set(_words(pair[0])) or OLD & set(_words(pair[1]))
        if not carry_problem(inputs, outputs, (pair,))
    )


def _paired(outputs: Sequence[str], inputs: Sequence[str]) -> list[tuple[str, str]]:
    taken = {_stem(name, OLD): name for name in inputs}
    stems = ((name, _stem(name, NEW)) for name in outputs)
    return [(name, taken[stem]) for name, stem in stems if stem in taken]


def carry_problem(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], carries: Carries
) -> str:
    """Why outputs cannot be inputs of the next call, in one sentence; empty if they can."""
    made, taken = ({spec.name: spec for spec in side} for side in (outputs, inputs))
    axes = {axis for spec in inputs for dim in spec.shape for axis in _axes_of(dim)}
    for new, old in carries:
        for name, side, kind in ((new, made, "output"), (old, taken, "input")):
            if name not in side:
                return f"carries names {kind} '{name}'; there are: {', '.join(side)}"
        if [name for _, name in carries].count(old) > 1:
            return f"carries gives input '{old}' more than one output; one is wanted"
        one, other = made[new], taken[old]
        if one.dtype != other.dtype or len(one.shape) != len(other.shape):
            return _unlike(one, other)
        for dim, before in zip(one.shape, other.shape, strict=True):
            if dim == before or {dim, before} <= set(BATCH_NAMES):
                continue
            if isinstance(dim, int) or isinstance(before, int) or before in BATCH_NAMES:
                return _unlike(one, other)
            if is_expression(before) or not set(names_in(dim)) <= axes:
                return (
                    f"state '{old}' grows from call to call ({before} becomes {dim}), and no axis "
                    f"says by how much; name the axes it grows by in the inputs' shapes, such as "
                    f'("batch", "past+sequence") of a mask, or leave it out of carries'
                )
    return ""


def _axes_of(dim: int | str) -> tuple[str, ...]:
    return () if isinstance(dim, int) or dim in BATCH_NAMES else names_in(dim)


def _unlike(one: TensorSpec, other: TensorSpec) -> str:
    return (
        f"output '{one.name}' is {one.dtype} {list(one.shape)} and cannot be carried to input "
        f"'{other.name}', which is {other.dtype} {list(other.shape)}; carry what has its shape, "
        "or fix the spec"
    )


def initial_problem(model: ModelSpec) -> str:
    """Why what a spec gives as its first state cannot be that, in one sentence; empty if it can."""
    carried, axes = {old for _, old in model.carries}, dict(model.axes)
    sizes: dict[str, int] = {}
    for spec in (one for one in model.inputs if one.initial is not None):
        if spec.name not in carried:
            return (
                f"input '{spec.name}' has initial=, and no output is carried to it; name one, "
                f"carries={{OUTPUT: '{spec.name}'}}, or leave initial out"
            )
        given, shape = _given(spec)
        if given.ndim and not _fits(shape, given.shape):
            return (
                f"initial of input '{spec.name}' has the shape {list(given.shape)}, and one sample "
                f"of it has {list(spec.sample)}; give an array of that shape, or one number"
            )
        numbers = given.dtype.kind in "biuf"
        if not numbers or not (spec.floating or (given.astype(spec.held) == given).all()):
            return (
                f"initial of input '{spec.name}' is {given.dtype}, and its spec {spec.dtype}; give "
                "an array of numbers of that dtype"
            )
        for axis, size in _open_sizes(spec).items():
            if sizes.setdefault(axis, size) != size:
                return f"initial arrays have {sizes[axis]} and {size} places along axis '{axis}'"
            if not axes[axis].low <= size <= axes[axis].high:
                return (
                    f"initial of input '{spec.name}' has {size} places along axis '{axis}', which "
                    f"has {axes[axis].low} to {axes[axis].high}; say more in axes="
                )
    return ""


def _given(spec: TensorSpec) -> tuple[Array, Shape]:
    """What a spec gives as its first state, and the shape that it has to have."""
    given = from_text(spec.initial)
    return given, spec.shape if given.ndim == len(spec.shape) else spec.sample


def _fits(shape: Shape, given: tuple[int, ...]) -> bool:
    """Whether an array of one sample is of a shape, its batch axis of 1 or left out."""
    wanted = [1 if dim in BATCH_NAMES else dim for dim in shape]
    return len(wanted) == len(given) and all(
        dim == size or (isinstance(dim, str) and not is_expression(dim))
        for dim, size in zip(wanted, given, strict=True)
    )


def initial_sizes(model: ModelSpec) -> dict[str, int]:
    """The sizes of symbolic axes that given first states have."""
    return {axis: size for spec in model.inputs for axis, size in _open_sizes(spec).items()}


def _open_sizes(spec: TensorSpec) -> dict[str, int]:
    if spec.initial is None:
        return {}
    given, shape = _given(spec)
    return {
        dim: size
        for dim, size in zip(shape, given.shape, strict=False)
        if isinstance(dim, str) and dim not in BATCH_NAMES
    }


def first_rows(spec: TensorSpec, drawn: Array) -> Array:
    """What a spec gives as its first state, a row for each sample, in the form of ``drawn``."""
    given, shape = _given(spec)
    if given.ndim and spec.batch_axis is not None and shape == spec.shape:
        given = np.moveaxis(given, spec.batch_axis, 0)
    return np.array(np.broadcast_to(given, drawn.shape), drawn.dtype)


def growth(model: ModelSpec) -> dict[str, str]:
    """The axes that grow from call to call, each with its size at the next: ``past: past+1``."""
    return dict(_growing(model))


def _growing(model: ModelSpec) -> Iterator[tuple[str, str]]:
    outputs = {spec.name: spec.shape for spec in model.outputs}
    inputs = {spec.name: spec.shape for spec in model.inputs}
    for new, old in model.carries:
        for dim, before in zip(outputs[new], inputs[old], strict=True):
            if dim != before and before not in BATCH_NAMES:
                yield str(before), str(dim)


def in_a_row(
    calls: Iterable[Outputs],
    carries: Iterable[tuple[str, str]],
    answer: Callable[[Outputs], Outputs | None],
) -> Iterator[Outputs]:
    """The outputs of calls in a row, of which each gets the state that the one before gave.

    Args:
        calls: the inputs of each by name; the first has its state already.
        answer: a call's outputs by name; None ends the row.
    """
    state: Outputs = {}
    for call in calls:
        outputs = answer({**call, **state})
        if outputs is None:
            return
        yield outputs
        state = {old: outputs[new] for new, old in carries}


def flow_axis(model: ModelSpec) -> str:
    """The axis along which one call may take what several take in turn; empty for none.

    New tokens by which a past grows, or the time of a sequence that is fed with a state.
    """
    grown = growth(model)
    states = {old for _, old in model.carries}
    if grown:
        found = {axis for dim in grown.values() for axis in names_in(dim)} - set(grown)
    else:
        fed = (spec for spec in model.inputs if spec.name not in states)
        found = {axis for spec in fed for dim in spec.shape for axis in _axes_of(dim)}
    carried = {dim for spec in model.inputs if spec.name in states for dim in spec.shape}
    return found.pop() if len(found) == 1 and not found & carried else ""


def next_sizes(model: ModelSpec, sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes of the symbolic axes at the next call, where the state has grown."""
    grown = {axis: evaluate(dim, sizes) for axis, dim in growth(model).items()}
    return {**sizes, **{axis: size for axis, size in grown.items() if size is not None}}


def generates(model: ModelSpec) -> tuple[str, str] | None:
    """The output of logits, and the input that gets the position of the largest at the next call.

    Of a model with memory: whole numbers from a range, and one output that has a logit for each of
    them, at each place of the sequence or at the last alone. None where no such pair is.
    """
    logits = [spec for spec in model.outputs if spec.floating and spec.sample]
    found = [
        (one.name, other.name)
        for other in model.inputs if isinstance(other.domain, Integers)
        for one in logits if model.carries and _scores(one, other, other.domain)
    ]  # fmt: skip
    named = [pair for pair in found if TOKENS.search(pair[1]) and not NO_TOKENS.search(pair[1])]
    chosen = named or found
    return chosen[0] if len(chosen) == 1 else None


def _scores(one: TensorSpec, other: TensorSpec, ids: Integers) -> bool:
    """Whether an output has a logit for each number of an input's range, for the same samples."""
    *places, classes = one.sample
    there = isinstance(classes, int) and ids.low >= 0 and ids.high <= classes
    same = len(other.sample) < 2 and (one.batch_axis is None) == (other.batch_axis is None)
    return there and same and tuple(places) in (other.sample, (), (1,))
