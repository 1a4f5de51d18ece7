"""What a run needs only sometimes: the distribution's extras, and what to do without one."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.files import INSTALLED

EXTRAS = ("torch", "keras", "hf", "onnxruntime", "report", "photographs", "quantisation", "timing")
REPORT = "report"  # the extra of every page
FRAMEWORKS = ("torch", "keras")
RECORDS = (".dist-info", ".egg-info")  # what installers call those folders


def remedy(extra: str) -> str:
    """The command that installs what an extra brings."""
    if INSTALLED:
        return f"pip install 'onnx-conformance[{extra}]'"
    half = f" (FRAMEWORKS={extra} for this half alone)" if extra in FRAMEWORKS else ""
    return f"'make conformance' installs it{half}"


def absent(module: str, extra: str) -> CapabilityMissing:
    """The error that says in one line which module is missing, and which extra brings it."""
    return CapabilityMissing(f"{module} is not installed; {remedy(extra)}")


@contextmanager
def optional(extra: str) -> Iterator[None]:
    """Import in this block what ``extra`` brings.

    Raises:
        CapabilityMissing: one of its modules is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module in ("", "onnx_conformance"):
            raise
        raise absent(module, extra) from error


def require_modules(extra: str, *modules: str) -> None:
    """Find out before a long run, without importing them.

    Raises:
        CapabilityMissing: the first that is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise absent(module, extra)


def installed() -> Iterator[Path]:
    """The folder of each installed distribution, whose name has its version.

    ``importlib.metadata`` reads and parses a file of each, which takes 0.1 s for 150 of them.
    """
    for folder in dict.fromkeys(map(Path, sys.path)):
        with suppress(OSError):  # an archive, or absent
            yield from (each for each in folder.iterdir() if each.suffix in RECORDS)


def page_module(name: str) -> ModuleType:
    """A module of this package that draws a page.

    Raises:
        CapabilityMissing: the extra ``report`` is not installed.
    """
    require_modules(REPORT, "jinja2", "matplotlib")
    return importlib.import_module(name)
