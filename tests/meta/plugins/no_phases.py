"""Hypothesis replays failures that it knows, and generates none: with no database, nothing runs."""

from hypothesis import Phase

from fixtures import strategies

strategies.PHASES = (Phase.reuse,)
