"""The first thing a worker runs: shipped as source, before any name of this package is known.

A module and not a function, because execnet parses a function's source to send it, and Python
3.11's parser fails now and then where two threads use it at once
(https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import os
import sys
from typing import Any

channel: Any  # execnet puts it here


def _boot(channel: Any, root: str, kind: str, threads: int, log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)  # last words go to a file, chatter not to the terminal
    os.close(descriptor)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    sys.path.insert(0, root)
    from onnx_conformance.workers.server import serve

    channel.send(("ok", os.getpid()))
    serve(channel, kind, threads)


if __name__ == "__channelexec__":
    _boot(channel, **channel.receive())  # noqa: F821 # execnet's name
