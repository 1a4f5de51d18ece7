"""Outcomes of a gated case that is not green: worse, or undecided."""

from __future__ import annotations

from onnx_conformance.core.errors import ConformanceError


class Worse(ConformanceError):
    """The candidate is worse than the baseline, or one of them proves nothing."""


class Undecided(Worse):
    """Neither verdict on speed was reached; red under ``--gate-strict``, and never green."""
