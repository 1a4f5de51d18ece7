"""``-m "not slow"``: files that are slow as a whole are not imported, and so no framework is."""

import sys

import pytest

QUICK = "not slow"
WHOLE = "pytestmark = pytest.mark.slow"
FRAMEWORKS = ("torch", "tensorflow", "onnxruntime")


def pytest_ignore_collect(collection_path, config):
    """Deselecting a test is too late: its file was imported by then."""
    if config.option.markexpr != QUICK or not collection_path.name.startswith("test_"):
        return None
    return True if WHOLE in collection_path.read_text(encoding="utf-8") else None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Red where a quick test, or its file, imported a framework."""
    found = [name for name in FRAMEWORKS if name in sys.modules]
    if session.config.option.markexpr == QUICK and found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nquick tests imported {', '.join(found)}: mark the test that does as slow")
