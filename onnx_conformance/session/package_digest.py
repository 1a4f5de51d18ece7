"""A digest of the code that shapes results, for cache keys and certificates.

The package counts as a whole: which of its files shape a result is not decided by hand, so a
change to any of them makes every earlier result void.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from onnx_conformance.core.errors import UsageError

SUFFIXES = (".py", ".yaml", ".j2")


def package_folder() -> Path:
    """The folder of the top-level package that this module belongs to, symbolic links resolved."""
    package = sys.modules[__name__.partition(".")[0]]
    assert package.__file__ is not None  # it has an __init__.py
    return Path(package.__file__).resolve().parent


@lru_cache
def source_digest(*modules: str) -> str:
    """SHA-256 over the package's code and data, and over the code of modules outside of it.

    Files are read once in a process, so the digest is of what was there when it was first asked
    for. A module outside of the package counts with the ``.py`` files beside it, which it may
    import; none of them is imported.

    Args:
        modules: dotted names of modules whose code shapes the result; those of the package may be
            among them and add nothing.

    Raises:
        UsageError: a module has no source file, so changes to it would go unnoticed.
    """
    package = __name__.partition(".")[0]
    homes = sorted({_home(name) for name in modules if name.partition(".")[0] != package})
    return _digest(
        [folder_digest(package_folder()), *(_files_digest(h, h.glob("*.py")) for h in homes)]
    )


@lru_cache
def folder_digest(folder: Path) -> str:
    """SHA-256 over the relative paths and contents of a folder's code and data, at any depth.

    Raises:
        UsageError: there is none, as where the package was installed without its source.
    """
    files = list(_code_in(folder))
    if not files:
        raise UsageError(
            f"{folder} has no source file ({', '.join(SUFFIXES)}), so results cannot be cached by "
            "a digest of the code; install the package with its source, unpacked"
        )
    return _files_digest(folder, files)


def _code_in(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names if name.endswith(SUFFIXES))


def _files_digest(folder: Path, files: Iterable[Path]) -> str:
    """Over names and contents, each of a known length: no two lists of files read the same."""
    return _digest(
        text
        for path in sorted(files)
        for text in (
            path.relative_to(folder).as_posix(),
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
    )


def _digest(texts: Iterable[str]) -> str:
    state = hashlib.sha256()
    for text in texts:
        state.update(hashlib.sha256(text.encode()).digest())
    return state.hexdigest()


def _home(module: str) -> Path:
    """The folder of the module's source file, symbolic links resolved."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.has_location or spec.origin is None:
        raise UsageError(f"module '{module}' has no source file; name a module that has one")
    return Path(spec.origin).resolve().parent
