"""Requests to workers and their answers, and how arrays and records travel between processes.

Execnet's channels carry builtin types only.
"""

from __future__ import annotations

import importlib
from dataclasses import fields, is_dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.documents import FileFacts
from onnx_conformance.core.spec import ModelSpec


class DescribedModels(TypedDict):
    """What is known of users' models once they were built and run.

    ``specs``: of the models that can be judged.
    ``names``: of all models that the files register.
    ``refused``: why others were refused, by name.
    ``modules``: the files of the user's modules that were imported, by the modules' names.
    """

    specs: list[ModelSpec]
    names: list[str]
    refused: dict[str, str]
    modules: dict[str, str]


class ReadFile(TypedDict):
    """An external artifact as its reader read it: its facts, and the digests of its files."""

    facts: FileFacts
    sha256: list[str]


class SessionRequest(TypedDict):
    """Everything that a worker needs to open a session.

    ``sha256`` are the digests of ``files``; empty where the caller knows none. ``memory``: bytes
    that a call may use beside what the process holds; 0, no limit, for files of the suite's own.
    """

    files: list[str]
    sha256: list[str]
    provider: str
    provider_options: dict[str, str]
    graph_level: str
    allow_cpu_fallback: bool
    memory: NotRequired[int]
    custom_op_libraries: NotRequired[list[str]]
    library: NotRequired[str]  # of a plugin provider


class SessionTensor(TypedDict):
    """An input or output as a session describes it; ``type`` in ONNX Runtime's words."""

    name: str
    type: str
    shape: list[int | str | None]


class OpenedSession(TypedDict):
    """What an opened session reports; ``seconds`` is the time that opening took."""

    sha256: list[str]
    placement: dict[str, dict[str, int]]
    inputs: list[SessionTensor]
    outputs: list[SessionTensor]
    seconds: float


class RunResult(TypedDict, total=False):
    """One run: ``outputs`` by name and its ``seconds``, or the text of its ``error``.

    ``died``: it ended the process. ``missing``: why nobody ran it, of recorded answers.
    """

    outputs: dict[str, NDArray[Any]]
    seconds: float
    error: str
    died: bool
    missing: str


class RuntimeVersions(TypedDict):
    """ONNX Runtime's version, the providers that were compiled in, and what made it so."""

    onnxruntime: str
    compiled_in: list[str]
    packages: list[str]
    environment: dict[str, str]  # the variables that may override a provider's precision
    machine: str  # its devices with driver and firmware, and its system


class PluginDevice(TypedDict):
    """A device that a plugin's library offers; ``device`` is its kind, such as ``GPU``."""

    provider: str
    device: str
    version: str


# -- arrays and records on their way --------------------------------------------------------------

_ARRAY, _RECORD = "__ndarray__", "__record__"
_HOMES = ("onnx_conformance.core.", "onnx_conformance.catalog.")  # whose records travel


def pack(value: Any) -> Any:
    """Replace arrays and frozen records, at any depth, by plain builtins.

    Raises:
        TypeError: an array whose dtype its string does not tell (objects, records, bfloat16).
    """
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject or np.dtype(value.dtype.str) != value.dtype:
            raise TypeError(f"an array of dtype {value.dtype} cannot travel between processes")
        return (_ARRAY, value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        held = {field.name: pack(getattr(value, field.name)) for field in fields(value)}
        return (_RECORD, kind.__module__, kind.__name__, held)
    if isinstance(value, dict):
        return {key: pack(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(pack(item) for item in value)
    return value


def unpack(value: Any) -> Any:
    """The inverse of :func:`pack`; the arrays are read-only views of the message."""
    if isinstance(value, tuple) and value and isinstance(value[0], str) and value[0] == _ARRAY:
        _, dtype, shape, data = value
        return np.frombuffer(data, dtype=dtype).reshape(shape)
    if isinstance(value, tuple) and value and isinstance(value[0], str) and value[0] == _RECORD:
        return _record(*value[1:])
    if isinstance(value, dict):
        return {key: unpack(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(unpack(item) for item in value)
    return value


def _record(module: str, name: str, held: dict[str, Any]) -> Any:
    """A record of this package; a message makes no other object.

    Raises:
        TypeError: it names something else.
    """
    kind = getattr(importlib.import_module(module), name) if module.startswith(_HOMES) else None
    if not is_dataclass(kind) or not isinstance(kind, type):
        raise TypeError(f"{module}.{name} is no record that travels between processes")
    return kind(**{field: unpack(value) for field, value in held.items()})
