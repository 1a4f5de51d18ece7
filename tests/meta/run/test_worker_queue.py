"""Worker queue and the clock: order of work, what waits for what, and whose time it was."""

import time
from concurrent.futures import CancelledError, Future, wait
from contextlib import closing
from threading import Event

import pytest

from onnx_conformance.core.errors import CapabilityMissing, StageFailure, WorkerError
from onnx_conformance.run import clock as clock_module
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.worker_client import InProcessWorkerClient, ProcessWorkerClient
from onnx_conformance.run.worker_queue import WorkerQueue

pytestmark = pytest.mark.slow

LIMIT = 20.0
FAKE = "tests.meta.doubles:FakeBackend"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    with closing(WorkerQueue("torch", InProcessWorkerClient(FAKE), clock, LIMIT)) as made:
        yield made


@pytest.fixture
def other(clock):
    with closing(WorkerQueue("onnxruntime", InProcessWorkerClient(FAKE), clock, LIMIT)) as made:
        yield made


@pytest.fixture
def gate():
    """An event that the worker queues wait for; open at the end, so that they can close."""
    event = Event()
    yield event
    event.set()


# -- worker queues
# -----------------------------------------------------------------------------------


def test_work_is_done_in_the_order_of_its_submission(queue):
    done = []
    futures = [queue.submit(lambda number=number: done.append(number)) for number in range(20)]
    for future in futures:
        future.result(LIMIT)
    assert done == list(range(20))


def test_after_hands_the_result_on(queue, other):
    first = queue.submit(lambda: 20)
    assert other.after(first, lambda number: number + 1).result(LIMIT) == 21


def test_after_works_in_its_own_queue_on_what_is_long_done(queue):
    assert queue.after(done(1), lambda number: number + 1).result(LIMIT) == 2


def done(value):
    future = Future()
    future.set_result(value)
    return future


def test_queue_serves_others_while_a_dependency_is_missing(queue):
    missing = Future()
    waiting = queue.after(missing, lambda text: f"{text} came")
    assert queue.submit(lambda: "served").result(LIMIT) == "served"
    assert not waiting.done()
    missing.set_result("it")
    assert waiting.result(LIMIT) == "it came"


def test_failed_dependency_fails_what_comes_after_with_the_same_error(queue, other):
    failure = StageFailure("export", "resnet18", "no kernel")

    def fail():
        raise failure

    def unwanted(_):
        raise AssertionError("the dependency failed")

    second = other.after(queue.submit(fail), unwanted)
    third = queue.after(second, unwanted)
    assert second.exception(LIMIT) is failure
    assert third.exception(LIMIT) is failure


def test_work_that_raises_fails_alone(queue):
    assert isinstance(queue.after(done(1), lambda _: 1 / 0).exception(LIMIT), ZeroDivisionError)
    assert queue.submit(lambda: "lives").result(LIMIT) == "lives"


def test_cancelled_dependency_ends_what_comes_after(queue):
    dependency = Future()
    waiting = queue.after(dependency, str)
    dependency.cancel()
    with pytest.raises(CancelledError):
        waiting.result(LIMIT)


def test_close_ends_all_that_waits(clock, other, gate, caplog):
    queue = WorkerQueue("torch", InProcessWorkerClient(FAKE), clock, LIMIT)
    running = queue.submit(gate.wait)
    queued = queue.submit(str)
    own, foreign = queue.after(queued, str), other.after(queued, str)
    late, missing = queue.after(Future(), str), Future()
    after_missing = queue.after(missing, str)
    other.submit(lambda: (time.sleep(0.05), gate.set()))
    queue.close()
    missing.set_result("too late")
    assert running.result(LIMIT) is True
    for future in (queued, own, foreign):
        with pytest.raises(CancelledError):
            future.result(LIMIT)
    assert isinstance(after_missing.exception(LIMIT), RuntimeError)
    assert not late.done()  # its dependency is another's to end
    assert caplog.text == ""  # no callback raised


def test_close_ends_a_call_under_way(clock):
    queue = WorkerQueue("torch", ProcessWorkerClient(FAKE), clock, LIMIT)
    queue.submit(lambda: queue.worker.start(LIMIT)).result(LIMIT)
    started = time.perf_counter()
    calls = [queue.submit(lambda: queue.call("native", "net", "nap", seconds=60.0)) for _ in "ab"]
    time.sleep(0.1)
    queue.close()
    assert time.perf_counter() - started < 10
    assert isinstance(calls[0].exception(LIMIT), StageFailure)
    assert calls[1].cancelled()
    assert queue.worker.process is None  # type: ignore[attr-defined]


# -- calls -----------------------------------------------------------------------------------


def test_call_answers(queue):
    assert queue.call("native", "resnet18", "echo", value=1) == 1


def test_engine_error_becomes_a_failed_stage_in_one_line(queue):
    with pytest.raises(StageFailure) as caught:
        queue.call("export", "resnet18-torch_dynamo-opset18", "fail", message="no\nkernel")
    failure = caught.value
    assert str(failure) == (
        "export of resnet18-torch_dynamo-opset18 failed: ZeroDivisionError: no kernel"
    )
    assert (failure.stage, failure.subject) == ("export", "resnet18-torch_dynamo-opset18")
    assert "Traceback" in failure.details
    assert isinstance(failure.__cause__, WorkerError)


def test_missing_capability_stays_itself(queue):
    with pytest.raises(CapabilityMissing, match="no weights"):
        queue.call("build", "resnet18", "lack", message="no weights")


# -- the clock -------------------------------------------------------------------------------


def test_engine_seconds_are_counted_by_stage(queue, clock):
    queue.call("native", "net", "nap", seconds=0.05)
    queue.call("export", "net", "nap", seconds=0.1)
    worker = clock.table()["engine"]
    assert worker["native"] >= 0.05
    assert worker["export"] >= 0.1
    assert worker["oracle"] == 0


def test_a_failed_call_is_counted_too(queue, clock):
    with pytest.raises(StageFailure):
        queue.call("export", "net", "fail", message="")
    assert clock.table()["engine"]["export"] > 0
    assert clock.activities() == {}


def test_activities_tell_what_each_queue_does_now(queue, other, clock, gate):
    def work():
        with clock.busy("torch", "export", "resnet18"):
            gate.wait(LIMIT)

    queue.submit(work)
    while not clock.activities():
        time.sleep(0.001)
    assert clock.activities() == {"torch": "export resnet18"}


@pytest.fixture
def looked(gate, monkeypatch):
    """Open the gate once the clock looks for so many times what the queues do."""

    def after(times):
        left = [times]

        def look(futures, timeout):
            left[0] -= 1
            if left[0] <= 0:
                gate.set()
            return wait(futures, timeout)

        monkeypatch.setattr(clock_module, "wait", look)

    return after


def begin(queue, clock, stage, gate):
    """Work of a stage that waits for the gate, once it has begun."""
    begun = Event()

    def work():
        with clock.busy(queue.name, stage, "net"):
            begun.set()
            gate.wait(LIMIT)

    future = queue.submit(work)
    assert begun.wait(LIMIT)
    return future


@pytest.mark.parametrize("times", [1, 3])  # it ends before the first tick, and after several
def test_waiting_counts_for_the_stage_that_the_queue_is_in(queue, clock, gate, looked, times):
    looked(times)
    clock.wait(begin(queue, clock, "oracle", gate), queue.name)
    waited = clock.table()["waited"]
    assert waited["oracle"] == sum(waited.values()) >= (times - 1) * clock_module.TICK


def test_waiting_for_an_idle_queue_counts_for_what_another_does(queue, other, clock, gate, looked):
    """The runtime waits for an export: the time is the export's."""
    looked(3)
    export = begin(queue, clock, "export", gate)
    clock.wait(other.after(export, lambda _: None), other.name)
    assert clock.table()["waited"]["export"] >= 2 * clock_module.TICK


def test_what_is_ready_costs_no_wait(clock):
    assert clock.wait(done(1), "torch") == 1
    assert sum(clock.table()["waited"].values()) == 0


def test_wait_raises_what_the_work_raised(queue, clock):
    with pytest.raises(ZeroDivisionError):
        clock.wait(queue.submit(lambda: 1 / 0), queue.name)


def test_table_accounts_for_the_whole_wall_time(queue, clock):
    clock.wait(queue.submit(lambda: queue.call("native", "net", "nap", seconds=0.05)), queue.name)
    time.sleep(0.05)
    table = clock.table()
    assert table["rest"] >= 0.05
    assert table["rest"] + sum(table["waited"].values()) == pytest.approx(table["wall"])


def test_ticks_show_progress_while_waiting(queue, gate):
    seen = []
    clock = Clock(on_tick=lambda activities: (seen.append(activities), gate.set()))

    def work():
        with clock.busy("torch", "build", "net"):
            gate.wait(LIMIT)

    clock.wait(queue.submit(work), queue.name)
    assert {"torch": "build net"} in seen
