"""Which data files a model's builder and its calls open, so that a change of one is noticed.

Runs in the process that imports a user's code. Python announces every file that it opens to an
audit hook; libraries that open files in C or Rust do not, but for ONNX Runtime, whose sessions
are asked which file they were made of.
"""

from __future__ import annotations

import gc
import os
import stat
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnx_conformance.core.files import PACKAGE, file_digest

_CODE = (".py", ".pyc", ".pyi", ".so", ".pth")
_ACTIVE: list[set[str]] = []
_INSTALLED: list[bool] = []


@contextmanager
def opened_files() -> Iterator[set[str]]:
    """Collect the names of the files that are opened for reading meanwhile."""
    if not _INSTALLED:
        _INSTALLED.append(True)
        sys.addaudithook(_listen)  # for good: Python takes none away
    found: set[str] = set()
    _ACTIVE.append(found)
    try:
        with _sessions_told(found):
            yield found
    finally:
        _ACTIVE.remove(found)
        found.update(_of_sessions())


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _ACTIVE:
        return
    name, mode, flags = arguments
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if not isinstance(name, (str, os.PathLike)) or (
        isinstance(mode, str) and set(mode) & set("wax")
    ):
        return
    if isinstance(flags, int) and flags & os.O_ACCMODE == os.O_WRONLY:
        return
    path = os.path.abspath(os.fspath(name))
    for found in _ACTIVE:
        found.add(path)


def _of_sessions() -> Iterator[str]:
    """The files of ONNX Runtime's sessions that live, also of some made before."""
    kind = _session_type()
    if kind is None:
        return
    gc.unfreeze()  # what the worker's start made, too
    for one in gc.get_objects():
        if issubclass(type(one), kind):
            path = getattr(one, "_model_path", None)
            if path:
                yield os.path.abspath(os.fspath(path))


def _session_type() -> type[Any] | None:
    kind = getattr(sys.modules.get("onnxruntime"), "InferenceSession", None)
    return kind if isinstance(kind, type) else None


@contextmanager
def _sessions_told(found: set[str]) -> Iterator[None]:
    """Collect the files of sessions that are made meanwhile, however short they live."""
    kind: Any = _session_type()
    if kind is None:
        yield
        return
    made = kind.__init__

    def noted(self: Any, source: Any, *rest: Any, **named: Any) -> None:
        if isinstance(source, (str, os.PathLike)):
            found.add(os.path.abspath(os.fspath(source)))
        made(self, source, *rest, **named)

    kind.__init__ = noted
    try:
        yield
    finally:
        kind.__init__ = made


def data_files(names: set[str]) -> list[Path]:
    """Those that are data: neither code nor part of Python, of installed packages or of ours."""
    paths = sysconfig.get_paths()
    known = [Path(paths[key]) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    known += [PACKAGE, Path(sys.prefix), Path(sys.base_prefix)]
    known += [place.resolve() for place in known]  # an environment may be a link to another
    system = tuple(map(Path, ("/proc", "/sys", "/dev", "/etc", "/usr")))
    return [
        path
        for path in sorted(map(Path, names))
        if path.suffix not in _CODE
        and not any(path.is_relative_to(place) for place in (*known, *system))
        and _regular(path)
    ]


def _regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def digests(paths: list[Path]) -> dict[str, str]:
    """SHA-256 of files by their paths."""
    return {str(path): file_digest(path) for path in paths}
