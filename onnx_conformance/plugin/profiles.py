"""Hypothesis profiles: how many inputs a drawn test draws."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from onnx_conformance.core.errors import UsageError
from onnx_conformance.inputs.strategies import DEFAULT_EXAMPLES

PROFILES = {"default": DEFAULT_EXAMPLES, "ci": 20, "thorough": 300}  # examples of a drawn test


def load_profile(name: str) -> None:
    """Choose a Hypothesis profile.

    Raises:
        UsageError: there is no such profile.
    """
    if name not in PROFILES:
        known = ", ".join(PROFILES)
        raise UsageError(f"--hypothesis-profile {name}: no such profile; known: {known}")
    settings.load_profile(name)


def register_profiles(cache_dir: Path) -> None:
    """Hypothesis profiles; the example database lives with the cache."""
    database = DirectoryBasedExampleDatabase(cache_dir / "examples")
    for name, examples in PROFILES.items():
        if examples < 1:
            raise UsageError(
                f"profile {name} has max_examples={examples}; drawn tests need at least 1"
            )
        settings.register_profile(
            name,
            max_examples=examples,
            database=database,
            # workers compute in seconds what Hypothesis expects in milliseconds
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            print_blob=True,
            verbosity=Verbosity.normal,
        )
