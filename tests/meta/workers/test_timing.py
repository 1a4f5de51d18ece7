"""The stopwatch inside a worker, and the host that lets one worker be awake at a time."""

import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import psutil
import pytest

from onnx_conformance.core.errors import WorkerDied, WorkerError
from onnx_conformance.perf.latency.suspended_worker import SuspendedWorker, chosen_cpus
from onnx_conformance.workers.stopwatch import WINDOW, TimedCall
from tests.meta.timed_doubles import TimedBackend

pytestmark = pytest.mark.slow

KIND = "tests.meta.timed_doubles:TimedBackend"
FEED = {"input": np.arange(3, dtype=np.float32)}
CPUS = chosen_cpus((), 1)


@pytest.fixture
def backend():
    return TimedBackend()


def warm(backend, times, seconds=60.0):
    backend.rehearse("a", "plain", FEED, seconds=times)
    return backend.warm("a", seconds)


# -- in the worker ---------------------------------------------------------------------------


def test_a_rehearsal_answers(backend):
    found = backend.rehearse("a", "plain", FEED)
    assert found["outputs"]["output"].tolist() == [0, 2, 4]
    assert found["first_seconds"] > 0
    assert found["prepare_seconds"] > 0
    assert backend.outputs("a")["output"].tolist() == [0, 2, 4]


def test_what_is_timed_keeps_its_own_inputs(backend):
    inputs = {"input": np.ones(3, np.float32)}
    backend.rehearse("a", "plain", inputs)
    inputs["input"].fill(7)
    assert backend.outputs("a")["output"].tolist() == [2, 2, 2]


def test_the_clock_runs_around_the_call_alone():
    timed = TimedCall(lambda: time.sleep(0.02), lambda result: time.sleep(1) or {})
    assert 0.02 <= timed.timed() < 0.5


def test_equal_times_settle_at_once(backend):
    found = warm(backend, [0.1])
    assert (found["calls"], found["settled"]) == (2 * WINDOW, True)
    assert found["seconds"] == pytest.approx(0.1)


def test_times_that_fall_settle_when_they_are_level(backend):
    falling = [1 / 1.3**number for number in range(15)]
    found = warm(backend, falling + [0.01] * 50)
    assert found["settled"]
    assert len(falling) + WINDOW <= found["calls"] <= len(falling) + 2 * WINDOW
    assert found["seconds"] == pytest.approx(0.01)


def test_a_single_spike_unsettles_nothing(backend):
    found = warm(backend, [0.1] * 7 + [5.0] + [0.1] * 20)
    assert (found["calls"], found["settled"]) == (2 * WINDOW, True)


def test_times_that_never_settle_end_with_their_time(backend):
    found = warm(backend, [1.5**number for number in range(400)], seconds=0.002)
    assert not found["settled"]


def test_what_is_discarded_is_called_and_not_kept(backend):
    backend.rehearse("a", "plain", FEED, seconds=[0.1, 0.2, 0.3])
    before = backend.calls
    found = backend.time("a", discard=2, calls=3)
    assert found.tolist() == [0.1, 0.2, 0.3]
    assert found.dtype == np.float64
    assert backend.calls - before == 5


def test_what_is_forgotten_is_gone(backend):
    backend.rehearse("a", "plain", FEED)
    backend.forget("a")
    backend.forget("a")
    with pytest.raises(KeyError):
        backend.time("a", discard=0, calls=1)


def test_memory(backend):
    found = backend.memory(reset=True)
    assert set(found) == {"resident", "peak", "gpu"}
    own = psutil.Process().memory_info().rss / 2**20
    assert found["resident"] == pytest.approx(own, rel=0.2)
    assert found["peak"] >= found["resident"] > 1


def test_a_driver_that_does_not_answer_costs_a_figure_and_no_time(backend, monkeypatch):
    def hang(query, **options):
        raise subprocess.TimeoutExpired(query, options["timeout"])

    monkeypatch.setattr("shutil.which", lambda tool: f"/bin/{tool}")
    monkeypatch.setattr("subprocess.run", hang)
    assert backend.memory()["gpu"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="a peak is started anew on Linux alone")
def test_the_peak_is_of_what_came_since(backend):
    before = backend.memory(reset=True)
    backend.allocate(64)
    after = backend.memory()
    assert after["peak"] >= before["resident"] + 60
    assert after["resident"] < before["resident"] + 32
    assert backend.memory(reset=True)["peak"] < after["peak"] - 30


# -- the host --------------------------------------------------------------------------------


@pytest.fixture
def host():
    with closing(SuspendedWorker(KIND, threads=1, cpus=CPUS, limit=20.0)) as made:
        yield made


def status(pid):
    """Of a process, when the system has had time to act on a signal."""
    for _ in range(50):
        if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
            break
        time.sleep(0.01)
    return psutil.Process(pid).status()


def test_an_engine_is_suspended_between_calls(host):
    pid = host.call("pid")
    assert status(pid) == psutil.STATUS_STOPPED
    assert host.call("pid") == pid
    assert status(pid) == psutil.STATUS_STOPPED


def test_a_suspended_engine_takes_no_processor_time(host):
    process = psutil.Process(host.call("pid"))
    assert status(process.pid) == psutil.STATUS_STOPPED
    before = process.cpu_times()
    time.sleep(0.2)
    after = process.cpu_times()
    assert (after.user, after.system) == (before.user, before.system)


def test_it_is_awake_in_its_own_call(host):
    assert host.call("nap", seconds=0.05) == 0.05


def test_it_is_suspended_after_a_failure_too(host):
    pid = host.call("pid")
    with pytest.raises(WorkerError, match="no"):
        host.call("fail")
    assert status(pid) == psutil.STATUS_STOPPED
    assert host.call("pid") == pid


def test_a_suspended_engine_is_killed_when_it_is_closed():
    host = SuspendedWorker(KIND, threads=1, cpus=CPUS, limit=20.0)
    process = psutil.Process(host.call("pid"))
    host.close()
    _, alive = psutil.wait_procs([process], timeout=5)
    assert not alive
    with pytest.raises(WorkerDied, match="closed"):
        host.call("pid")


def test_a_hang_is_killed_at_the_limit():
    with closing(SuspendedWorker(KIND, threads=1, cpus=CPUS, limit=1.0)) as host:
        process = psutil.Process(host.call("pid"))
        with pytest.raises(WorkerDied, match="did not answer within 1 s"):
            host.call("nap", seconds=60.0)
        _, alive = psutil.wait_procs([process], timeout=5)
        assert not alive


def test_it_stays_on_its_processors(host):
    process = psutil.Process(host.call("pid"))
    if not CPUS:
        pytest.skip("this system has no affinity")
    assert host.affinity == CPUS == process.cpu_affinity()


def test_times_come_through(host):
    found = host.call("rehearse", label="a", form="plain", inputs=FEED, seconds=[0.5, 0.25])
    assert found["outputs"]["output"].tolist() == [0, 2, 4]
    assert host.time("a", discard=1, calls=4).tolist() == [0.5, 0.25, 0.5, 0.25]
