"""Where a worker is, by the host of its provider: a process here or elsewhere, or a folder."""

from __future__ import annotations

from pathlib import Path

from onnx_conformance.run.answers_client import ANSWERS, AnswersClient
from onnx_conformance.run.kit import RECORDED_IN, RecordingWorkerClient
from onnx_conformance.run.remote_host import RemoteWorkerClient, is_remote
from onnx_conformance.run.worker_client import ProcessWorkerClient, WorkerClient


def is_process_here(spec: str) -> bool:
    """Whether its worker is a process of this machine."""
    return not (is_remote(spec) or spec.startswith((ANSWERS, RECORDED_IN)))


def worker_at(kind: str, spec: str, *, threads: int = 1, seed: int = 0) -> WorkerClient:
    """The client of a worker of a kind.

    Args:
        spec: execnet's, ``answers:FOLDER`` or ``kit:FOLDER``; ``//env:NAME=VALUE`` may follow.
        seed: the run's, which recorded answers must be of.
    """
    host = spec.partition("//env:")[0]
    if host.startswith(ANSWERS):
        return AnswersClient(Path(host.removeprefix(ANSWERS)), seed=seed)
    if host.startswith(RECORDED_IN):
        folder = Path(host.removeprefix(RECORDED_IN))
        return RecordingWorkerClient(kind, folder, threads=threads, seed=seed)
    if is_remote(host):
        return RemoteWorkerClient(kind, spec, threads=threads)
    return ProcessWorkerClient(kind, spec=spec, threads=threads)
