"""Installed packages that are known to clash, and requirements that are not met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from onnx_conformance.core.yaml_reader import YamlNode, read_yaml
from onnx_conformance.run.cache_keys import version

SHIPPED = Path(__file__).with_name("clashes.yaml")
ANY, ABSENT = "any", "absent"
KEYS = ("packages", "reason", "remedy", "link", "stops")
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
        UsageError: a malformed file, naming the line and the key.
    """
    return [_entry(entry) for entry in read_yaml(path).entries()]


def _entry(entry: YamlNode) -> Incompatibility:
    found = entry.keys(KEYS)
    return Incompatibility(
        packages=found["packages"].specifiers(beside=(ANY, ABSENT)),
        reason=found["reason"].text(),
        remedy=found["remedy"].text(),
        link=found["link"].link(),
        stops=found["stops"].flag(),
    )


def unmet(
    packages: Iterable[str],
    installed: Installed = version,
    requires: Callable[[str], list[str] | None] = metadata.requires,
) -> Iterator[str]:
    """Requirements of installed packages that are not met, as ``pip check`` reports them."""
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
                yield f"{package} needs {wanted.name} {wanted.specifier}, but {found} is installed"
