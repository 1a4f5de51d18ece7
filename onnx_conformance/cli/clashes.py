"""Installed packages that are known not to work together, and requirements that are not met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from onnx_conformance.core.errors import UsageError
from onnx_conformance.session.cache_keys import version

SHIPPED = Path(__file__).with_name("clashes.yaml")
ANY, ABSENT = "any", "absent"
KEYS = {"packages", "reason", "remedy", "link", "stops"}
Installed = Callable[[str], str | None]  # a distribution's version, or None


@dataclass(frozen=True)
class Incompatibility:
    """An entry of ``clashes.yaml``.

    Args:
        packages: distributions (several of one module with ``|`` between them) to a specifier,
            ``any`` or ``absent``; all must apply.
        stops: the default run cannot succeed.
    """

    packages: dict[str, str]
    reason: str
    remedy: str
    link: str
    stops: bool

    def applies(self, installed: Installed = version) -> bool:
        """Whether these versions are installed."""
        return all(
            _fits(names.split("|"), wanted, installed) for names, wanted in self.packages.items()
        )

    def __str__(self) -> str:
        names = ", ".join(
            f"{names.replace('|', ' or ')} {wanted}" for names, wanted in self.packages.items()
        )
        return f"{names}: {self.reason} ({self.link}); {self.remedy}"


def _fits(names: list[str], wanted: str, installed: Installed) -> bool:
    found = [number for number in map(installed, names) if number is not None]
    if wanted == ABSENT:
        return not found
    if wanted == ANY:
        return bool(found)
    return any(SpecifierSet(wanted).contains(number, prereleases=True) for number in found)


def load_incompatibilities(path: Path = SHIPPED) -> list[Incompatibility]:
    """Every entry of a file.

    Raises:
        UsageError: a malformed file, naming the entry and the key.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list):
        raise UsageError(f"{path}: must be a list of entries")
    return [_entry(path, number, entry) for number, entry in enumerate(entries, start=1)]


def _entry(path: Path, number: int, entry: Any) -> Incompatibility:
    where = f"{path}, entry {number}"
    if not isinstance(entry, dict) or set(entry) != KEYS:
        raise UsageError(f"{where}: must have exactly the keys {', '.join(sorted(KEYS))}")
    for key in ("reason", "remedy", "link"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise UsageError(f"{where}: '{key}' must be a text")
    if not entry["link"].startswith("https://"):
        raise UsageError(f"{where}: 'link' must be the address of an issue")
    if not isinstance(entry["stops"], bool):
        raise UsageError(f"{where}: 'stops' must be true or false")
    try:
        for wanted in entry["packages"].values():
            if wanted not in (ANY, ABSENT):
                SpecifierSet(wanted)
    except (AttributeError, TypeError, InvalidSpecifier) as error:
        raise UsageError(f"{where}: 'packages' must map packages to specifiers") from error
    return Incompatibility(**entry)


def unmet(
    packages: Iterable[str],
    installed: Installed = version,
    requires: Callable[[str], list[str] | None] = metadata.requires,
) -> Iterator[str]:
    """What installed packages ask for and do not find, as ``pip check`` tells it."""
    for package in packages:
        if installed(package) is None:
            continue
        for line in requires(package) or ():
            wanted = Requirement(line)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            found = installed(wanted.name)
            if found is None:
                yield f"{package} needs {wanted.name}, which is not installed"
            elif not wanted.specifier.contains(found, prereleases=True):
                yield f"{package} needs {wanted.name} {wanted.specifier}, and {found} is installed"
