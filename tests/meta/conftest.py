"""``-m "not slow"`` imports no framework; whole runs share a cache; long files start first."""

import os
import shutil
import sys
import tempfile

import pytest

from tests.meta.fork_server import SERVERS
from tests.meta.running import CACHE

QUICK = "not slow"
WHOLE = "pytestmark = pytest.mark.slow"
FRAMEWORKS = ("torch", "tensorflow", "onnxruntime")
# The files that take longest: where several processes share the files out, these begin.
LONGEST = (
    "installed",
    "sabotage",
    "detection",
    "examples_models",
    "custom_operators",
    "gate_empty",
)


def pytest_ignore_collect(collection_path, config):
    """Deselecting a test is too late: its file was imported by then."""
    if config.option.markexpr != QUICK or not collection_path.name.startswith("test_"):
        return None
    return True if WHOLE in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONGEST)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Red where a quick test, or its file, imported a framework."""
    found = [name for name in FRAMEWORKS if name in sys.modules]
    if session.config.option.markexpr == QUICK and found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nquick tests imported {', '.join(found)}: mark the test that does as slow")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """The cache of all runs: the processes of xdist inherit its path."""
    config.add_cleanup(SERVERS.close)
    if CACHE not in os.environ:
        os.environ[CACHE] = made = tempfile.mkdtemp(prefix="conformance-tests-")
        config.add_cleanup(lambda: os.environ.pop(CACHE) and shutil.rmtree(made))


@pytest.fixture(scope="session")
def cache():
    """The option that names it, for a run with a plugin that falsifies nothing that is kept."""
    return f"--cache-dir={os.environ[CACHE]}"


@pytest.fixture(scope="session")
def worker_of():
    """The worker of a framework or runtime: started when first asked for, and then every file's."""
    from onnx_conformance.run.worker_client import ProcessWorkerClient

    started = {}

    def worker(name):
        if name not in started:
            started[name] = ProcessWorkerClient(name)
        return started[name]

    yield worker
    for each in started.values():
        each.close()


@pytest.fixture(scope="session")
def right_of(request, pytestconfig):
    """A case, judged by this run's own workers: its file is right."""
    from onnx_conformance.core.tolerances import load_tolerances
    from onnx_conformance.plugin.state import run_workers
    from onnx_conformance.run.live_subject import LiveSubject

    tolerances = load_tolerances(pytestconfig.rootpath / "tolerances.yaml")
    return lambda case: LiveSubject(case, run_workers(request.config), tolerances)


@pytest.fixture
def right(right_of):
    """The case that most negative controls start from."""
    from onnx_conformance.checks.registry import PLAIN_CASE

    return right_of(PLAIN_CASE)
