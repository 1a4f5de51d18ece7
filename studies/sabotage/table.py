"""The table of scenarios as Markdown: what happens, what turns red, and what allclose says."""

from __future__ import annotations

import re
from pathlib import Path

from studies.sabotage.scenario_verdict import SHOWN, Outcome
from tests.meta.running import ROOT

DOCUMENT = ROOT / "docs" / "sabotage.md"
HEAD = """\
# Sabotage: no pass without evidence

Ways to get a green run that proves nothing. Each must turn the run red, in words that name the
cause; `tests/meta/studies/test_sabotage.py` plays them all. The last column is what
`np.allclose(got, native, rtol=1e-5, atol=1e-5)` says of the same outputs, at batch 1 and at
batch 4, output by output and with NumPy's broadcasting; "not asked" where a run compares none.

Written by `python -m studies.sabotage`.

| scenario | what happens | turns red | it says | plain allclose |
|---|---|---|---|---|
"""


def render(outcomes: list[Outcome]) -> str:
    """The whole document."""
    passes = sum(outcome.plain.startswith("passes") for outcome in outcomes)
    asked = sum(outcome.scenario.kind == "answer" for outcome in outcomes)
    tail = (
        f"\n{len(outcomes)} scenarios, all red. Of the {asked} whose outputs plain allclose can "
        f"compare, it passes {passes}, or passes them at batch 1.\n"
    )
    return HEAD + "".join(map(_row, outcomes)) + tail


def _row(outcome: Outcome) -> str:
    scenario = outcome.scenario
    cells = (scenario.name, scenario.story, outcome.where, _shown(outcome), outcome.plain)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _shown(outcome: Outcome) -> str:
    """The telling line without what differs from run to run, cut around the telling words."""
    line = re.sub(r"\S*/conformance-sabotage-\w+/\d+/", "", outcome.says)
    if len(line) > SHOWN:
        start = max(0, line.find(outcome.scenario.message) - SHOWN // 4)
        line = ("…" if start else "") + line[start : start + SHOWN] + "…"
    return f"`{line}`"


def write(outcomes: list[Outcome], path: Path = DOCUMENT) -> str:
    """Write the document and give it back."""
    text = render(outcomes)
    path.write_text(text, encoding="utf-8")
    return text
