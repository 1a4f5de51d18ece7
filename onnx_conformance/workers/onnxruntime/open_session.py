"""Open a session on a provider, compiled in or a plugin's. Runs in the worker's process."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort

from onnx_conformance.core.custom_operators import is_file, library_problem
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError
from onnx_conformance.workers.server import load_object

_REGISTERED: dict[str, list[Any]] = {}  # library -> its devices; ONNX Runtime registers once
# Provider -> the module of a package that loads its libraries, which lie where no loader looks.
# ``preload_dlls`` loads CUDA's and cuDNN's alone.
_LOADERS = {"TensorrtExecutionProvider": "tensorrt_libs"}


def open_session(
    path: str,
    options: ort.SessionOptions,
    provider: str,
    provider_options: Mapping[str, str],
    library: str = "",
) -> ort.InferenceSession:
    """A session that is never retried on another provider, when it opens or when it runs.

    Args:
        provider: ONNX Runtime's name of it.
        own: the provider's options.
        library: of a plugin, its file or the module that knows it.

    Raises:
        CapabilityMissing: the plugin offers no device here.
    """
    if not library:
        load_libraries(provider)
        opened = ort.InferenceSession(
            path, options, providers=[(provider, dict(provider_options))], enable_fallback=0
        )
    else:
        devices = [device for device in register(library) if device.ep_name == provider]
        if not devices:
            raise CapabilityMissing(f"{library} offers no device here")
        options.add_provider_for_devices(devices[:1], dict(provider_options))
        opened = ort.InferenceSession(path, options, enable_fallback=0)
    opened.disable_fallback()  # builds differ in whether the argument covers errors of a run
    return opened


def load_libraries(provider: str) -> None:
    """Load a provider's libraries out of an installed package, where there is one.

    A package that cannot be imported is no finding: the session names the library that it misses.
    """
    with contextlib.suppress(ImportError, OSError):
        if provider in _LOADERS:
            importlib.import_module(_LOADERS[provider])


def register(library: str) -> list[Any]:
    """The devices that a plugin's library offers; it is loaded once in a process.

    Raises:
        OSError: the library cannot be found.
        Exception: ONNX Runtime cannot load it; its words name the missing library.
    """
    if library not in _REGISTERED:
        path, before = find(library), {device.ep_name for device in ort.get_ep_devices()}
        ort.register_execution_provider_library(Path(path).stem, path)
        _REGISTERED[library] = [
            device
            for device in ort.get_ep_devices()
            if device.ep_name not in before or device.ep_metadata.get("library_path") == path
        ]
    return _REGISTERED[library]


def find(library: str) -> str:
    """The file of a plugin: itself, or where the installed module ``get_library_path`` says.

    Raises:
        OSError: neither a file nor an installed module.
    """
    if Path(library).is_file():
        return library
    try:
        return str(importlib.import_module(library).get_library_path())
    except (ImportError, AttributeError, ValueError) as error:
        raise OSError(
            f"{library} is neither a file nor an installed plugin package ({error})"
        ) from error


class LibraryProblem(ConformanceError):
    """A library that cannot be found or loaded: the message says which, and what to do."""


def register_libraries(options: Any, references: list[str]) -> None:
    """Register libraries with the options of a session.

    Args:
        references: files, or ``module:function`` that gives a file's path.

    Raises:
        LibraryProblem: one cannot be found, or ONNX Runtime cannot load it.
    """
    for reference in references:
        path = library_path(reference)
        try:
            options.register_custom_ops_library(path)
        except Exception as error:  # onnxruntime's own kinds
            import onnxruntime as ort

            raise LibraryProblem(
                f"the custom-operator library {reference} cannot be loaded; build it for ONNX "
                f"Runtime {ort.__version__} ({error})"
            ) from error


def library_path(reference: str) -> str:
    """The file that a reference names.

    Raises:
        LibraryProblem: it names none.
    """
    problem = library_problem(reference)
    if problem is not None:
        raise LibraryProblem(problem)
    if is_file(reference):
        return str(Path(reference).absolute())
    try:
        return str(load_object(reference)())
    except Exception as error:
        raise LibraryProblem(
            f"the custom-operator library {reference} gives no path ({type(error).__name__}: "
            f'{error}); write library="module:function", a function that returns one'
        ) from error
