"""The loop inside a worker's process: take a request, call the backend, answer.

The judge (pytest's process) never imports a framework. Each worker is a *backend* class
(:func:`backend_of`) hosted in a worker process (:mod:`onnx_conformance.run.worker_client`).
"""

from __future__ import annotations

import gc
import importlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.catalog.models import REGISTERED
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.extras import EXTRAS, remedy
from onnx_conformance.core.worker_messages import pack, unpack

_OTHERS = {
    "onnxruntime": "onnx_conformance.workers.onnxruntime.backend:OnnxRuntimeBackend",
    "reader": "onnx_conformance.workers.reader.backend:ReaderBackend",
}


def backend_of(kind: str) -> str:
    """``module:class`` of a worker's backend; an unknown kind names its class itself."""
    if kind in FRAMEWORKS:
        return FRAMEWORKS[kind].backend
    return _OTHERS.get(kind, kind)


def load_object(reference: str) -> Any:
    """Import ``module:attribute``, or ``file.py:attribute`` of a file that a user named.

    ``file.py:registered model NAME`` is the function that the file registers as that model: it
    may be a lambda, or one of several that a loop makes.
    """
    module, registered, name = reference.partition(f":{REGISTERED}")
    if registered:
        from onnx_conformance.workers.import_code import load_code

        declared = load_code(module)[1]
        return next(one.builder for one in declared if one.name == name)
    module, _, attribute = reference.rpartition(":")
    if module.endswith(".py"):
        from onnx_conformance.workers.import_code import load_file

        return getattr(load_file(module)[0], attribute)
    return getattr(importlib.import_module(module), attribute)


def make_backend(kind: str, threads: int) -> Any:
    """Import the worker's framework; ``kind`` is of :func:`backend_of` or ``module:class``."""
    return load_object(backend_of(kind))(threads=threads)


def answer(backend: Any, method: str, arguments: dict[str, Any]) -> tuple[str, Any]:
    """Call one public method; an exception becomes an answer, so the worker lives on."""
    try:
        if method.startswith("_"):
            raise AttributeError(f"'{method}' is not a public method of the worker")
        return ("ok", getattr(backend, method)(**arguments))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever is raised is the answer
        return failure(error)


def failure(error: BaseException) -> tuple[str, tuple[str, str, str]]:
    """The reply for ``error``; this library's own errors need only their message."""
    details = "" if isinstance(error, ConformanceError) else traceback.format_exc()
    return ("error", (type(error).__name__, str(error), details))


def serve(channel: Any, kind: str, threads: int) -> None:
    """Serve requests from ``channel`` until it closes."""
    gc.disable()  # what an import makes stays; looking for garbage in it takes a fifth of its time
    try:
        backend = make_backend(kind, threads)
    except Exception as error:  # noqa: BLE001 - an import can fail in any way
        if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
            error.msg = f"{error.msg}; {remedy(error.name)}"
        channel.send(failure(error))
        return
    gc.freeze()  # nor is it looked through at every export
    channel.send(("ok", None))
    for method, arguments in channel:
        reply = answer(backend, method, unpack(arguments))
        gc.enable()  # the first call may have imported a user's code
        try:
            channel.send(pack(reply))
        except Exception as error:  # noqa: BLE001 - an answer that cannot travel
            channel.send(failure(error))


@contextmanager
def limited_memory(most: int) -> Iterator[None]:
    """Allow the block ``most`` bytes in addition to what the process uses; 0: no limit.

    RLIMIT_DATA counts what is allocated, and neither code nor reserved addresses, of which the
    libraries of a GPU take many gigabytes. Only Linux keeps it; elsewhere nothing is limited.
    """
    held = getattr(psutil.Process().memory_info(), "data", None) if most else None
    if held is None:
        yield
        return
    import resource

    before, ceiling = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + most
    if ceiling != resource.RLIM_INFINITY:
        wanted = min(wanted, ceiling)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, ceiling))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, ceiling))
