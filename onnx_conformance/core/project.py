"""The table ``[tool.onnx-conformance]`` of a project's pyproject.toml."""

from __future__ import annotations

import importlib
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import TOLERANCES

TABLE = "onnx-conformance"
OUTPUTS = ".conformance"
_PATHS = ("tolerances", "known-failures", "found-recipes")


@dataclass(frozen=True)
class Project:
    """The files and modules that a project's runs use; without a table, the library's defaults.

    Args:
        folder: the folder of pyproject.toml, or the working folder without one.
        register: modules that register models, tasks or exporters, imported before a run.
        tolerances: the tolerances file; the library's own where none is named.
        known_failures: known upstream failures, if the project lists any.
        found_recipes: recipes of inputs that found a fault, if the project lists any.
    """

    folder: Path
    register: tuple[str, ...] = ()
    tolerances: Path = TOLERANCES
    known_failures: Path | None = None
    found_recipes: Path | None = None

    @property
    def outputs(self) -> Path:
        """The folder of what runs leave: reports, the cache, repro bundles. May not exist yet."""
        return self.folder / OUTPUTS

    def load(self) -> None:
        """Import the modules that register the project's records.

        Raises:
            UsageError: a module that cannot be imported.
        """
        for name in self.register:
            if str(self.folder) not in sys.path:
                sys.path.insert(0, str(self.folder))
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise UsageError(
                    f"{self.folder / 'pyproject.toml'}: [tool.{TABLE}] register names '{name}', "
                    f"which cannot be imported: {error}"
                ) from error


@cache
def project() -> Project:
    """The project of the working folder: the nearest table in it or above it.

    Raises:
        UsageError: a table with a key or value that means nothing.
    """
    place = Path.cwd().resolve()
    for folder in (place, *place.parents):
        table = _table(folder / "pyproject.toml")
        if table is not None:
            return _project(folder, table)
    return Project(place)


def _table(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    table = found.get("tool", {}).get(TABLE)
    return table if isinstance(table, dict) else None


def _project(folder: Path, table: dict[str, Any]) -> Project:
    where = f"{folder / 'pyproject.toml'}: [tool.{TABLE}]"
    unknown = sorted(set(table) - {"register", *_PATHS})
    if unknown:
        known = ", ".join(("register", *_PATHS))
        raise UsageError(f"{where} has an unknown key '{unknown[0]}'; known: {known}")
    register = table.get("register", [])
    if not isinstance(register, list) or not all(isinstance(name, str) for name in register):
        raise UsageError(f"{where} register must be a list of modules")
    paths = {
        key.replace("-", "_"): _file(where, folder, key, table[key])
        for key in _PATHS
        if key in table
    }
    return Project(folder, tuple(register), **paths)


def _file(where: str, folder: Path, key: str, value: object) -> Path:
    if not isinstance(value, str) or not (folder / value).is_file():
        raise UsageError(f"{where} {key} = {value!r}: no such file in {folder}")
    return folder / value
