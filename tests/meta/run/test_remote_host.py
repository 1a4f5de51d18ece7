"""ONNX Runtime on another host: files travel once, and a lost, hung or slow host is told."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from onnx_conformance.core.errors import CapabilityMissing, WorkerDied
from onnx_conformance.run.remote_host import PING, RemoteHost, RemoteWorkerClient, remote_host
from onnx_conformance.run.worker_client import ProcessWorkerClient
from onnx_conformance.run.worker_queue import worker_at
from tests.meta.cpu_session import cpu_session
from tests.meta.run.test_against import perceptron
from tests.meta.running import ORDINARY, run_suite

pytestmark = pytest.mark.slow

LIMIT = 60.0
CALL_LIMIT = 20  # seconds
STARTS = 20.0  # of a worker, in which a loaded machine starts another one


class Server:
    """execnet's server in an environment of its own: another home, and nothing of this suite.

    Args:
        inside: the command that runs another one in another network, where ``address`` is its own.
    """

    def __init__(self, home, address="127.0.0.1", inside=()):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.home = home
        place = f"{address}:{self.port}"
        kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-u", "-m", "execnet.script.socketserver", place],
            cwd=home,
            env={**kept, "HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.spec = f"socket={place}"
        assert self.process.stdout is not None
        assert b"Accept" in self.process.stdout.readline()

    def signal(self, number):
        server = psutil.Process(self.process.pid)
        for process in [*server.children(recursive=True), server]:
            os.kill(process.pid, number)

    def close(self):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.communicate(timeout=20)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with contextlib.closing(Server(tmp_path_factory.mktemp("home"))) as server:
        yield server


@pytest.fixture
def mortal(tmp_path):
    (tmp_path / "home").mkdir()
    with contextlib.closing(Server(tmp_path / "home")) as server:
        yield server


DEVICE, NETWORK = f"cf{os.getpid()}", f"conformance-{os.getpid()}"


@pytest.fixture
def apart(tmp_path):
    """A server in a network namespace of its own, at the other end of ``DEVICE``."""

    def ip(*words):
        return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)

    if shutil.which("ip") is None or (made := ip("netns", "add", NETWORK)).returncode:
        pytest.skip("a network namespace takes root, and iproute2's ip")
    number = os.getpid()
    here, there = (f"198.18.{number // 64 % 256}.{number % 64 * 4 + end}" for end in (1, 2))
    try:
        for words in (
            f"link add {DEVICE} type veth peer name far netns {NETWORK}",
            f"address add {here}/30 dev {DEVICE}",
            f"-n {NETWORK} address add {there}/30 dev far",
            f"link set {DEVICE} up",
            f"-n {NETWORK} link set far up",
            f"-n {NETWORK} link set lo up",
        ):
            made = ip(*words.split())
            assert made.returncode == 0, made.stderr
        (tmp_path / "home").mkdir()
        inside = ["ip", "netns", "exec", NETWORK]
        with contextlib.closing(Server(tmp_path / "home", there, inside)) as server:
            yield server
    finally:
        ip("netns", "delete", NETWORK)  # and with it the link


@pytest.fixture(scope="module")
def worker(server):
    with contextlib.closing(worker_at("onnxruntime", server.spec)) as worker:
        yield worker


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    path = perceptron(tmp_path_factory.mktemp("file") / "model.onnx")
    return cpu_session(path)


def inputs():
    return [{"x": np.random.default_rng(0).standard_normal((3, 10)).astype(np.float32)}]


def test_answers_are_those_of_a_worker_here(worker, session):
    with contextlib.closing(ProcessWorkerClient("onnxruntime")) as here:
        known = here.call("run", LIMIT, session=session, input_sets=inputs())[0]
    found = worker.call("run", LIMIT, session=session, input_sets=inputs())[0]
    assert {n: a.tobytes() for n, a in found["outputs"].items()} == {
        n: a.tobytes() for n, a in known["outputs"].items()
    }


def test_it_runs_there_on_a_package_and_files_that_were_sent(worker, server, session):
    assert isinstance(worker, RemoteWorkerClient)
    worker.call("open", LIMIT, session=session)
    kept = server.home / ".cache" / "onnx-conformance"
    assert [path for path in kept.glob("packages/*/onnx_conformance/api.py")]
    assert len([*kept.glob("files/*")]) == 1


def test_files_travel_once(server, worker, session, monkeypatch):
    worker.call("open", LIMIT, session=session)
    again = RemoteHost(server.spec + "//id=again")  # another run, which knows of nothing sent
    sent = []
    monkeypatch.setattr(again, "ask", lambda limit, method, *rest: sent.append(method) or True)
    again.placed(session, LIMIT)
    assert sent == ["has", "place"]


def test_a_file_that_was_spoiled_there_is_sent_again(server, worker, session):
    worker.call("open", LIMIT, session=session)
    (kept,) = (server.home / ".cache" / "onnx-conformance" / "files").iterdir()
    kept.write_bytes(b"spoiled")
    assert not remote_host(server.spec).ask(LIMIT, "has", kept.name)


def test_libraries_of_operators_do_not_travel(worker, session):
    with pytest.raises(CapabilityMissing, match="do not travel"):
        worker.call("open", LIMIT, session={**session, "custom_op_libraries": ["ops.so"]})


def test_a_worker_that_dies_there_is_replaced(mortal):
    with contextlib.closing(worker_at("onnxruntime", mortal.spec)) as worker:
        worker.start(LIMIT)
        assert isinstance(worker, RemoteWorkerClient)
        os.kill(worker._pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="worker died"):
            worker.call("versions", LIMIT)
        assert worker.call("versions", LIMIT)["onnxruntime"]


def test_a_worker_that_hangs_there_is_replaced_and_the_host_is_kept(mortal):
    with contextlib.closing(worker_at("onnxruntime", mortal.spec)) as worker:
        worker.start(LIMIT)
        assert isinstance(worker, RemoteWorkerClient)
        os.kill(worker._pid, signal.SIGSTOP)
        with pytest.raises(WorkerDied, match="did not answer within 2 s and was killed"):
            worker.call("versions", 2.0)
        assert worker.call("versions", LIMIT)["onnxruntime"]


def test_a_lost_host_is_told_at_once_and_for_good(mortal):
    with contextlib.closing(worker_at("onnxruntime", mortal.spec)) as worker:
        worker.start(LIMIT)
        mortal.signal(signal.SIGKILL)
        with pytest.raises(
            WorkerDied, match=rf"host 127\.0\.0\.1:{mortal.port}: cannot be reached"
        ):
            worker.call("versions", LIMIT)
        started = time.monotonic()
        with pytest.raises(WorkerDied, match="cannot be reached"):
            worker.call("versions", LIMIT)
        assert time.monotonic() - started < 1


def test_a_hung_host_is_told_within_the_limit(mortal):
    with contextlib.closing(worker_at("onnxruntime", mortal.spec)) as worker:
        worker.start(LIMIT)
        mortal.signal(signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(WorkerDied, match="gave no answer within"):
            worker.call("versions", 2.0)
        assert time.monotonic() - started < 2.0 + 25.0
        with pytest.raises(WorkerDied, match="gave no answer within"):
            worker.call("versions", 2.0)


def test_a_host_is_reached_by_ssh(tmp_path, monkeypatch, session):
    ssh = tmp_path / "ssh"  # which runs the command here
    ssh.write_text('#!/bin/sh\nshift 2\nexec sh -c "$1"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("HOME", str(tmp_path))
    with contextlib.closing(
        worker_at("onnxruntime", f"ssh=far//python={sys.executable}//env:SHELTERED=1")
    ) as worker:
        (found,) = worker.call("run", LIMIT, session=session, input_sets=inputs())
    assert found["outputs"]["y"].shape == (3, 5)
    assert [*tmp_path.glob(".cache/onnx-conformance/packages/*/onnx_conformance")]


def test_no_such_host_is_bad_input(tmp_path):
    file = perceptron(tmp_path / "file.onnx")
    words = [f"--artifact={file}", f"--against={file}", "--engine=far=socket=127.0.0.1:1"]
    run = run_suite(tmp_path, *ORDINARY, *words)
    assert run.status == 4, run.text
    assert "host 127.0.0.1:1: cannot be reached" in run.text


def one_matrix(folder, server, *options, **more):
    """A run of one file on a server and here."""
    native, file = perceptron(folder / "native.onnx"), folder / "file.onnx"
    perceptron(file, producer="an exporter")
    words = [f"--artifact={file}", f"--against={native}", f"--engine=far={server.spec}"]
    words += ["--provider=far", "--provider=cpu", "--bundles=0", *options]
    return run_suite(folder, *ORDINARY, *words, **more)


def test_a_host_in_another_network_is_a_column_with_the_scores_of_this_one(apart, tmp_path):
    run = one_matrix(tmp_path, apart)
    assert run.status == 0, run.text
    far, cpu = sorted(run.document["cases"], key=lambda case: case["provider"] == "cpu")
    assert (far["provider"], far["verdict"], cpu["verdict"]) == ("far", "passed", "passed")
    assert far["worst_score"] == cpu["worst_score"]


@pytest.mark.parametrize(
    ("where", "by", "part", "told"),
    [
        ("mortal", "SIGKILL", "all", "host 127.0.0.1:{port}: cannot be reached"),
        ("mortal", "SIGSTOP", "all", "gave no answer within"),
        ("mortal", "SIGSTOP", "workers", f"did not answer within {CALL_LIMIT} s and was killed"),
        ("apart", "link", DEVICE, "gave no answer within"),
    ],
    ids=["lost", "hung", "slow", "cut off"],
)
def test_a_host_that_fails_in_mid_run_is_red_and_the_run_goes_on(
    where, by, part, told, request, tmp_path, monkeypatch
):
    server = request.getfixturevalue(where)
    monkeypatch.setenv("LOST_SERVER", str(server.process.pid))
    monkeypatch.setenv("LOST_BY", by)
    monkeypatch.setenv("LOST_PART", part)
    run = one_matrix(tmp_path, server, f"--call-limit={CALL_LIMIT}", plugin="lost_host")
    assert run.status == 1, run.text
    verdicts = {case["provider"]: case["verdict"] for case in run.document["cases"]}
    assert verdicts == {"far": "failed", "cpu": "passed"}
    assert told.format(port=server.port) in run.text
    far = next(case for case in run.document["cases"] if case["provider"] == "far")
    assert sum(row["seconds"] for row in far["checks"]) < CALL_LIMIT + 2 * PING + STARTS
