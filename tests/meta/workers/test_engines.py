"""Workers: what crosses to another process and back, and what happens when that process fails."""

import contextlib
import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnx_conformance.core.domains import Integers
from onnx_conformance.core.errors import CapabilityMissing, WorkerDied, WorkerError
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.worker_messages import pack, unpack
from onnx_conformance.run.worker_client import InProcessWorkerClient, ProcessWorkerClient

pytestmark = pytest.mark.slow

LIMIT = 20.0
FAKE = "tests.meta.doubles:FakeBackend"
ARRAYS = {
    "0-d": np.array(1.5, np.float32),
    "empty": np.zeros((0, 3), np.float64),
    "no column": np.zeros((3, 0), np.float32),
    "strided": np.arange(24, dtype=np.int64).reshape(4, 6)[::2, ::-3],
    "transposed": np.arange(6, dtype=np.float16).reshape(2, 3).T,
    "broadcast": np.broadcast_to(np.float32(2), (2, 3)),
    "big-endian": np.array([1, 2], ">i4"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j], np.complex64),
    "text": np.array(["class", "é"]),
    "not finite": np.array([np.nan, np.inf, -np.inf, -0.0], np.float32),
}


@pytest.fixture(scope="module")
def worker():
    """One worker for the tests that leave it alive."""
    with contextlib.closing(ProcessWorkerClient(FAKE)) as worker:
        yield worker


@pytest.fixture
def mortal():
    """A worker that a test may kill."""
    with contextlib.closing(ProcessWorkerClient(FAKE)) as worker:
        yield worker


@pytest.fixture(params=["worker", "in_process"])
def either(request, worker):
    """The same calls, whether or not the worker has a process of its own."""
    return worker if request.param == "worker" else InProcessWorkerClient(FAKE)


def same(expected, actual):
    return (expected.dtype, expected.shape, expected.tobytes()) == (
        actual.dtype,
        actual.shape,
        actual.tobytes(),
    )


# -- what crosses ----------------------------------------------------------------------------


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_array_travels_unharmed_both_ways(either, array):
    assert either.call("describe", LIMIT, array=array) == (
        str(array.dtype),
        array.shape,
        array.tobytes(),
    )
    assert same(array, either.call("echo", LIMIT, value=array))


@settings(max_examples=100)
@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0)))
def test_any_dtype_and_shape_survives_the_wire(array):
    assert same(array, unpack(pack(array)))


@settings(max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
        lambda part: st.lists(part) | st.tuples(part) | st.dictionaries(st.text(), part),
        max_leaves=8,
    )
)
def test_plain_values_keep_their_types(value):
    assert unpack(pack(value)) == value


def test_a_record_arrives_as_it_was_sent():
    spec = TensorSpec("x", ("batch", "past+1"), "int64", domain=Integers(0, 9))
    assert unpack(pack({"specs": [spec]})) == {"specs": [spec]}


@pytest.mark.parametrize("name", ["fractions.Fraction", "onnx_conformance.core.spec.size_of"])
def test_a_message_makes_no_object_but_a_record_of_ours(name):
    with pytest.raises(TypeError, match="is no record that travels"):
        unpack(("__record__", *name.rsplit(".", 1), {}))


def test_arrays_travel_inside_containers(either):
    first, second = np.arange(3), np.ones((2, 2), np.float32)
    input_sets, pair = either.call("echo", LIMIT, value=([{"x": first}], (second, second)))
    assert same(first, input_sets[0]["x"])
    assert isinstance(pair, tuple)
    assert same(second, pair[1])


@pytest.mark.parametrize("dtype", [object, [("a", "f4")], ml_dtypes.bfloat16], ids=str)
def test_array_whose_dtype_would_be_lost_is_refused(dtype):
    with pytest.raises(TypeError, match="cannot travel between processes"):
        pack(np.zeros(2, dtype))


def test_answers_cannot_be_written_to(either):
    answer = either.call("echo", LIMIT, value=np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        answer[0] = 1.0


def test_threads_reach_the_backend_and_its_libraries(mortal):
    assert mortal.call("settings", LIMIT) == (1, "1")


def test_worker_is_another_process(worker):
    assert worker.call("pid", LIMIT) == worker.process.pid != psutil.Process().pid


# -- what the backend raises -----------------------------------------------------------------


def test_exception_carries_the_remote_traceback(either):
    with pytest.raises(WorkerError, match="^ZeroDivisionError: by nought$") as caught:
        either.call("fail", LIMIT, message="by nought")
    assert not isinstance(caught.value, WorkerDied)
    assert "doubles.py" in caught.value.details
    assert "raise ZeroDivisionError(message)" in caught.value.details


def test_engine_lives_on_after_an_exception(worker):
    before = worker.call("pid", LIMIT)
    with pytest.raises(WorkerError):
        worker.call("fail", LIMIT, message="")
    assert worker.call("pid", LIMIT) == before


def test_missing_capability_crosses_as_itself(either):
    with pytest.raises(CapabilityMissing, match="^no GPU here$"):
        either.call("lack", LIMIT, message="no GPU here")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("_secret", "AttributeError: '_secret' is not a public method"),
        ("__init__", "AttributeError: '__init__' is not a public method"),
        ("unknown", "AttributeError: 'FakeBackend' object has no attribute 'unknown'"),
        ("leave", "SystemExit: 7"),
        ("unspeakable", "DumpError: can't serialize <class 'object'>"),
    ],
)
def test_call_that_cannot_be_served_is_an_error(worker, method, message):
    before = worker.call("pid", LIMIT)
    with pytest.raises(WorkerError, match=message) as caught:
        worker.call(method, LIMIT)
    assert not isinstance(caught.value, WorkerDied)
    assert worker.call("pid", LIMIT) == before


def test_out_of_memory_is_a_clear_error(mortal):
    with pytest.raises(WorkerError, match=r"MemoryError: Unable to allocate 8\.00 GiB"):
        mortal.call("allocate", LIMIT, room=2 << 30, wanted=8 << 30)
    assert mortal.call("echo", LIMIT, value=1) == 1


# -- what the process does -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "argument", "status"),
    [
        ("exit", {"status": 3}, "exit status 3"),
        ("exit", {"status": 0}, "exit status 0"),
        ("kill", {"number": int(signal.SIGKILL)}, r"exit status -9 \(SIGKILL: often .* memory\)"),
        ("kill", {"number": int(signal.SIGSEGV)}, "exit status -11"),
    ],
)
def test_death_is_reported_with_status_and_last_words(mortal, method, argument, status):
    before = mortal.call("pid", LIMIT)
    with pytest.raises(WorkerDied, match=f"in '{method}', {status}") as caught:
        mortal.call(method, LIMIT, **argument, last_line="the disk is on fire")
    assert caught.value.details.strip().endswith("the disk is on fire")
    assert mortal.call("pid", LIMIT) != before


def test_death_between_two_calls_is_reported_by_the_next(mortal):
    before = mortal.call("pid", LIMIT)
    mortal.process.kill()
    mortal.process.wait(LIMIT)
    with pytest.raises(WorkerDied, match="exit status"):
        mortal.call("pid", LIMIT)
    assert mortal.call("pid", LIMIT) != before


def test_hang_ends_at_the_limit_and_so_does_the_process(mortal):
    mortal.start(LIMIT)
    process, started = mortal.process, time.perf_counter()
    with pytest.raises(WorkerDied, match=r"hung: 'nap' did not answer within 0\.3 s"):
        mortal.call("nap", 0.3, seconds=60.0)
    assert time.perf_counter() - started < 5
    assert not process.is_running()
    assert mortal.call("echo", LIMIT, value=1) == 1


def test_import_that_fails_is_an_error_every_time():
    with contextlib.closing(ProcessWorkerClient("tests.meta.doubles:BrokenBackend")) as worker:
        for _ in range(2):
            with pytest.raises(WorkerError, match="ImportError: libbroken") as caught:
                worker.call("echo", LIMIT, value=1)
            assert "doubles.py" in caught.value.details
            assert worker.process is None


def test_import_that_lacks_something_is_a_missing_capability_every_time():
    with contextlib.closing(ProcessWorkerClient("tests.meta.doubles:AbsentBackend")) as worker:
        for _ in range(2):
            with pytest.raises(CapabilityMissing, match="framework is not installed"):
                worker.call("echo", LIMIT, value=1)
            assert worker.process is None


@pytest.mark.parametrize("python", ["/no/such/python"])
def test_interpreter_that_does_not_start_is_an_error(python):
    worker = ProcessWorkerClient(FAKE, spec=f"popen//python={python}")
    with contextlib.closing(worker), pytest.raises(WorkerError, match=re.escape(python)):
        worker.call("echo", LIMIT, value=1)


def test_start_parses_no_source(mortal, monkeypatch):
    """Workers start in threads, and Python 3.11's parser errs there (boot.py has the issue)."""
    monkeypatch.setattr("ast.parse", lambda *_, **__: pytest.fail("parsed"))
    mortal.start(LIMIT)
    assert mortal.process is not None


def test_worker_that_cannot_boot_is_an_error(mortal):
    before = psutil.Process().children()
    mortal._log.unlink()
    with pytest.raises(WorkerDied, match="in 'start': FileNotFoundError"):
        mortal.start(LIMIT)
    assert psutil.Process().children() == before


def test_process_of_another_host_is_not_taken_for_one_of_ours(tmp_path, monkeypatch):
    """Its number names some other process here, which close() must not kill."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nshift 2\nexec sh -c "$1"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with contextlib.closing(
        ProcessWorkerClient(FAKE, spec=f"ssh=far//python={sys.executable}")
    ) as worker:
        assert worker.call("echo", LIMIT, value=1) == 1
        assert worker.process is None


# -- what is left behind ---------------------------------------------------------------------


def test_close_leaves_no_process_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    worker = ProcessWorkerClient(FAKE)
    worker.start(LIMIT)
    process = worker.process
    assert list(tmp_path.iterdir())
    worker.close()
    assert not process.is_running()
    assert not list(tmp_path.iterdir())


def test_close_ends_a_call_under_way_in_another_thread(mortal):
    mortal.start(LIMIT)
    process = mortal.process
    with ThreadPoolExecutor() as threads:
        call = threads.submit(mortal.call, "nap", LIMIT, seconds=60.0)
        time.sleep(0.1)
        mortal.close()
        with pytest.raises(WorkerDied):
            call.result(LIMIT)
    assert not process.is_running()


def test_closed_engine_does_not_rise_again(mortal):
    mortal.start(LIMIT)
    mortal.close()
    with pytest.raises(WorkerDied, match="closed"):
        mortal.call("echo", LIMIT, value=1)
    assert mortal.process is None
    mortal.close()


def test_engine_that_was_never_called_has_no_process():
    with contextlib.closing(ProcessWorkerClient(FAKE)) as worker:
        assert worker.process is None
