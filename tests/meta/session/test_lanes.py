"""Lanes and the clock: order of work, what waits for what, and whose time it was."""

import time
from concurrent.futures import CancelledError, Future
from contextlib import closing
from threading import Event

import pytest

from onnx_conformance.core.errors import CapabilityMissing, EngineError, StageFailure
from onnx_conformance.session.worker_client import InProcessEngine, WorkerEngine
from onnx_conformance.session.worker_queue import Clock, Lane

LIMIT = 20.0
FAKE = "tests.meta.doubles:FakeServant"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lane(clock):
    with closing(Lane("torch", InProcessEngine(FAKE), clock, LIMIT)) as made:
        yield made


@pytest.fixture
def other(clock):
    with closing(Lane("onnxruntime", InProcessEngine(FAKE), clock, LIMIT)) as made:
        yield made


@pytest.fixture
def gate():
    """An event that the lanes wait for; open at the end, so that they can close."""
    event = Event()
    yield event
    event.set()


# -- lanes -----------------------------------------------------------------------------------


def test_work_is_done_in_the_order_of_its_submission(lane):
    done = []
    futures = [lane.submit(lambda number=number: done.append(number)) for number in range(20)]
    for future in futures:
        future.result(LIMIT)
    assert done == list(range(20))


def test_after_hands_the_result_on(lane, other):
    first = lane.submit(lambda: 20)
    assert other.after(first, lambda number: number + 1).result(LIMIT) == 21


def test_after_works_in_its_own_lane_on_what_is_long_done(lane):
    assert lane.after(done(1), lambda number: number + 1).result(LIMIT) == 2


def done(value):
    future = Future()
    future.set_result(value)
    return future


def test_lane_serves_others_while_a_dependency_is_missing(lane):
    missing = Future()
    waiting = lane.after(missing, lambda text: f"{text} came")
    assert lane.submit(lambda: "served").result(LIMIT) == "served"
    assert not waiting.done()
    missing.set_result("it")
    assert waiting.result(LIMIT) == "it came"


def test_failed_dependency_fails_what_comes_after_with_the_same_error(lane, other):
    failure = StageFailure("export", "resnet18", "no kernel")

    def fail():
        raise failure

    def unwanted(_):
        raise AssertionError("the dependency failed")

    second = other.after(lane.submit(fail), unwanted)
    third = lane.after(second, unwanted)
    assert second.exception(LIMIT) is failure
    assert third.exception(LIMIT) is failure


def test_work_that_raises_fails_alone(lane):
    assert isinstance(lane.after(done(1), lambda _: 1 / 0).exception(LIMIT), ZeroDivisionError)
    assert lane.submit(lambda: "lives").result(LIMIT) == "lives"


def test_cancelled_dependency_ends_what_comes_after(lane):
    dependency = Future()
    waiting = lane.after(dependency, str)
    dependency.cancel()
    with pytest.raises(CancelledError):
        waiting.result(LIMIT)


def test_close_ends_all_that_waits(clock, other, gate, caplog):
    lane = Lane("torch", InProcessEngine(FAKE), clock, LIMIT)
    running = lane.submit(gate.wait)
    queued = lane.submit(str)
    own, foreign = lane.after(queued, str), other.after(queued, str)
    late, missing = lane.after(Future(), str), Future()
    after_missing = lane.after(missing, str)
    other.submit(lambda: (time.sleep(0.05), gate.set()))
    lane.close()
    missing.set_result("too late")
    assert running.result(LIMIT) is True
    for future in (queued, own, foreign):
        with pytest.raises(CancelledError):
            future.result(LIMIT)
    assert isinstance(after_missing.exception(LIMIT), RuntimeError)
    assert not late.done()  # its dependency is another's to end
    assert caplog.text == ""  # no callback raised


def test_close_ends_a_call_under_way(clock):
    lane = Lane("torch", WorkerEngine(FAKE), clock, LIMIT)
    lane.submit(lambda: lane.engine.start(LIMIT)).result(LIMIT)
    started = time.perf_counter()
    calls = [lane.submit(lambda: lane.call("native", "net", "nap", seconds=60.0)) for _ in "ab"]
    time.sleep(0.1)
    lane.close()
    assert time.perf_counter() - started < 10
    assert isinstance(calls[0].exception(LIMIT), StageFailure)
    assert calls[1].cancelled()
    assert lane.engine.process is None


# -- calls -----------------------------------------------------------------------------------


def test_call_answers(lane):
    assert lane.call("native", "resnet18", "echo", value=1) == 1


def test_engine_error_becomes_a_failed_stage_in_one_line(lane):
    with pytest.raises(StageFailure) as caught:
        lane.call("export", "resnet18-torch_dynamo-opset18", "fail", message="no\nkernel")
    failure = caught.value
    assert str(failure) == (
        "export of resnet18-torch_dynamo-opset18 failed: ZeroDivisionError: no kernel"
    )
    assert (failure.stage, failure.subject) == ("export", "resnet18-torch_dynamo-opset18")
    assert "Traceback" in failure.details
    assert isinstance(failure.__cause__, EngineError)


def test_missing_capability_stays_itself(lane):
    with pytest.raises(CapabilityMissing, match="no weights"):
        lane.call("build", "resnet18", "lack", message="no weights")


# -- the clock -------------------------------------------------------------------------------


def test_engine_seconds_are_counted_by_stage(lane, clock):
    lane.call("native", "net", "nap", seconds=0.05)
    lane.call("export", "net", "nap", seconds=0.1)
    engine = clock.table()["engine"]
    assert engine["native"] >= 0.05
    assert engine["export"] >= 0.1
    assert engine["oracle"] == 0


def test_a_failed_call_is_counted_too(lane, clock):
    with pytest.raises(StageFailure):
        lane.call("export", "net", "fail", message="")
    assert clock.table()["engine"]["export"] > 0
    assert clock.activities() == {}


def test_activities_tell_what_each_lane_does_now(lane, other, clock, gate):
    def work():
        with clock.busy("torch", "export", "resnet18"):
            gate.wait(LIMIT)

    lane.submit(work)
    while not clock.activities():
        time.sleep(0.001)
    assert clock.activities() == {"torch": "export resnet18"}


@pytest.mark.parametrize("seconds", [0.03, 0.25])  # less than a tick, and several
def test_waiting_counts_for_the_stage_that_the_lane_is_in(lane, clock, seconds):
    clock.wait(lane.submit(lambda: lane.call("oracle", "net", "nap", seconds=seconds)), lane.name)
    waited = clock.table()["waited"]
    assert waited["oracle"] >= 0.7 * max(seconds, sum(waited.values()))


def test_waiting_for_an_idle_lane_counts_for_what_another_does(lane, other, clock):
    """The runtime waits for an export: the time is the export's."""
    export = lane.submit(lambda: lane.call("export", "net", "nap", seconds=0.25))
    clock.wait(other.after(export, lambda _: None), other.name)
    assert clock.table()["waited"]["export"] >= 0.15


def test_what_is_ready_costs_no_wait(clock):
    assert clock.wait(done(1), "torch") == 1
    assert sum(clock.table()["waited"].values()) == 0


def test_wait_raises_what_the_work_raised(lane, clock):
    with pytest.raises(ZeroDivisionError):
        clock.wait(lane.submit(lambda: 1 / 0), lane.name)


def test_table_accounts_for_the_whole_wall_time(lane, clock):
    clock.wait(lane.submit(lambda: lane.call("native", "net", "nap", seconds=0.05)), lane.name)
    time.sleep(0.05)
    table = clock.table()
    assert table["rest"] >= 0.05
    assert table["rest"] + sum(table["waited"].values()) == pytest.approx(table["wall"])


def test_ticks_show_progress_while_waiting(lane, gate):
    seen = []
    clock = Clock(on_tick=lambda activities: (seen.append(activities), gate.set()))

    def work():
        with clock.busy("torch", "build", "net"):
            gate.wait(LIMIT)

    clock.wait(lane.submit(work), lane.name)
    assert {"torch": "build net"} in seen
