"""Workers that outlive a session: lent where asked for, returned only when they are idle."""

import time

import pytest

from onnx_conformance.core.settings import Settings
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.worker_queue import WorkerPool, WorkerQueues

pytestmark = pytest.mark.slow

NAMES = ("onnxruntime-cpu", "onnxruntime")


@pytest.fixture
def pool():
    made = WorkerPool()
    yield made
    made.close()


def opened(kind=NAMES):
    queues = WorkerQueues(Settings(), Clock())
    return queues, queues.get(*kind)


def test_a_second_session_has_the_first_ones_process(pool):
    pids = []
    for _ in range(2):
        with pool.lent():
            queues, queue = opened()
        queue.call("runtime", "it", "versions")
        pids.append(queue.worker.process.pid)
        queues.close()
    assert pids[0] == pids[1]


def test_a_worker_that_ended_meanwhile_is_started_anew(pool):
    for _ in range(2):
        with pool.lent():
            queues, queue = opened()
        assert queue.call("runtime", "it", "versions")["onnxruntime"]
        process = queue.worker.process
        queues.close()
        process.kill()
        process.wait(5)


def test_two_sessions_at_once_have_two_workers(pool):
    with pool.lent():
        (first, one), (second, other) = opened(), opened()
    assert one.worker is not other.worker
    first.close()
    second.close()


def test_a_frameworks_worker_is_never_shared(pool):
    workers = []
    for _ in range(2):
        with pool.lent():
            queues, queue = opened(("torch", "torch"))
        workers.append(queue.worker)
        queues.close()
    assert workers[0] is not workers[1]


def test_without_a_pool_nothing_is_shared():
    (first, one), (second, other) = opened(), opened()
    first.close()
    second.close()
    assert one.worker is not other.worker


def test_a_worker_that_still_works_is_ended(pool):
    with pool.lent():
        queues, queue = opened()
    queue.submit(lambda: time.sleep(2))
    assert not queue.release()
    queues.close()
    with pool.lent():
        later, another = opened()
    assert another.worker is not queue.worker
    later.close()
