"""The first thing a worker runs: shipped as source, before any name of this package is known.

A module and not a function, because execnet parses a function's source to send it, and Python
3.11's parser fails now and then where two threads use it at once
(https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

channel: Any  # execnet puts it here


def _boot(channel: Any, package: str, folder: str, kind: str, threads: int, log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)  # last words go to a file, chatter not to the terminal
    os.close(descriptor)
    os.environ["CONFORMANCE_SCRATCH"] = os.path.dirname(log)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    sys.path.insert(0, folder)
    _adopt(package)
    from onnx_conformance.workers.server import serve

    channel.send(("ok", os.getpid()))
    serve(channel, kind, threads)


def _adopt(package: str) -> None:
    """Import the judge's own package from its path.

    Its parent is not put on the path: installed, that is the folder of every package of the
    judge's environment, and the worker may run in another one, to judge what is installed there.
    """
    place = os.path.join(package, "__init__.py")
    spec = importlib.util.spec_from_file_location(
        "onnx_conformance", place, submodule_search_locations=[package]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["onnx_conformance"] = module
    spec.loader.exec_module(module)


if __name__ == "__channelexec__":
    _boot(channel, **channel.receive())  # noqa: F821 # execnet's name
