"""Load a file or module of a user's, and collect the models that it registers."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from onnx_conformance.catalog.models import Declaration, declaring, register_model
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import INSTALLED, PACKAGE
from onnx_conformance.core.spec import TensorSpec


@cache
def load_file(path: str) -> tuple[ModuleType, tuple[Declaration, ...]]:
    """Run a Python file once, with its folder importable as for ``python file.py``.

    Raises:
        UsageError: no such file, or an error in it, by its line.
    """
    place = Path(path).absolute()
    if not place.is_file():
        raise UsageError(f"{path}: no such file")
    name = f"own_{place.stem}_{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    loader = spec.loader
    if str(place.parent) not in sys.path:
        sys.path.insert(1, str(place.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with declaring() as found, _importing(path):
        loader.exec_module(module)
    return module, tuple(found)


@cache
def load_module(name: str) -> tuple[ModuleType, tuple[Declaration, ...]]:
    """Import a module once, the working folder's too.

    Raises:
        UsageError: no such module, or an error in it, by its line.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    with declaring() as found, _importing(name):
        module = importlib.import_module(name)
    return module, tuple(found)


def load_code(place: str) -> tuple[ModuleType, tuple[Declaration, ...]]:
    """A file that ends in ``.py``, or a module: see :func:`load_file` and :func:`load_module`."""
    return (load_file if place.endswith(".py") else load_module)(place)


@contextmanager
def _importing(what: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        alone = what if what.endswith(".py") else f"-c 'import {what}'"
        more = f"to see more, run it by itself: {_library()}{sys.executable} {alone}"
        if isinstance(error, ModuleNotFoundError) and not line_of(error):
            more = f"correct the name, or install it into {sys.prefix}"
        if isinstance(error, TypeError):
            more = _arguments_taken(str(error)) or more
        raise UsageError(
            f"{what} cannot be imported: {type(error).__name__}: {error}{line_of(error)}; {more}"
        ) from error


def _arguments_taken(message: str) -> str:
    """What a function of this library takes, where Python's ``message`` says it was called wrongly.

    >>> _arguments_taken("TensorSpec.__init__() got an unexpected keyword argument 'low'")[:45]
    'TensorSpec takes name, shape, dtype, scale, d'
    """
    called = re.match(r"(TensorSpec|register_model)(?:\.__init__)?\(\)", message)
    if called is None:
        return ""
    of_input = called[1] == "TensorSpec"
    taken = inspect.signature(TensorSpec if of_input else register_model).parameters
    values = (
        '; the values that an input may take are its domain: TensorSpec("ids", ("batch", 8), '
        '"int64", domain=Integers(0, 10)) for 0 to 9, domain=Bounded(0.0, 1.0) for floats'
    )
    return f"{called[1]} takes {', '.join(taken)}{values if of_input else ''}"


def _library() -> str:
    """What a shell needs before a command that imports this library: nothing, once installed."""
    return "" if INSTALLED else f"PYTHONPATH={PACKAGE.parent} "


def line_of(error: BaseException) -> str:
    """The last line of the user's that was reached."""
    line, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if is_user_code(file):
            line = f" ({Path(file).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return line


@cache
def is_user_code(file: str) -> bool:
    """Whether a source file is neither Python's, nor an installed package's, nor ours."""
    path = Path(file)
    if not path.is_absolute() or path.suffix != ".py":
        return False
    return not any(path.is_relative_to(place) for place in _installed())


@cache
def _installed() -> tuple[Path, ...]:
    """Where Python, installed packages and this one are."""
    paths = sysconfig.get_paths()
    theirs = [Path(paths[key]) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (*theirs, PACKAGE, Path(sys.prefix))


def user_sources() -> Iterator[Path]:
    """The source files of the user's that were imported so far, sorted."""
    yield from sorted(set(user_modules().values()))


def user_modules() -> dict[str, Path]:
    """The user's modules that were imported so far, by name.

    A module that is imported when it is first used (``importlib.util.LazyLoader``, SpeechBrain's)
    must not be imported by this: so its dictionary is read, past what it does on any access.
    """
    files = {
        name: object.__getattribute__(module, "__dict__").get("__file__")
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType)
    }
    return {name: Path(file) for name, file in files.items() if file and is_user_code(file)}
