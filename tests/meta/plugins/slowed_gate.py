"""The candidate of every gated case takes twice its time."""

from functools import partial

from fixtures.gate import gating

gating.Gate = partial(
    gating.Gate,
    engine="tests.meta.slowed:Slowed",
    forms={gating.BASELINE: "plain", gating.CANDIDATE: "slowed-2.0"},
)
