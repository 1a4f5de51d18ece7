"""The engines of every gated case have a clock that stands still."""

from functools import partial

from fixtures.gate import gating

gating.Gate = partial(
    gating.Gate,
    engine="tests.meta.frozen:Frozen",
    forms={gating.BASELINE: "frozen-0.001", gating.CANDIDATE: "frozen-0.001"},
)
