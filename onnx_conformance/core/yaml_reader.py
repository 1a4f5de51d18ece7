"""Reads the project's YAML files; an error names file, line and key, and what to write."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from onnx_conformance.core.errors import UsageError

WORDS_OF_A_REASON = 3


@dataclass(frozen=True)
class YamlNode:
    """A value of a YAML file. Each method reads it as one kind of thing.

    Args:
        raw: PyYAML's node, which knows its line; None for an empty file.
        what: what messages call it: ``the file``, ``an entry``, ``'reason'``.
        within: what messages call the mapping or the list that it stands in.

    Raises:
        UsageError: of every method, where the value is of another kind.
    """

    path: Path
    raw: Any
    what: str = "the file"
    within: str = ""

    def fail(self, problem: str) -> NoReturn:
        """Raise a UsageError that names the file and the line."""
        line = f", line {self.line}" if self.raw is not None else ""
        raise UsageError(f"{self.path}{line}: {problem}")

    @property
    def line(self) -> int:
        """The line that it begins on, from 1."""
        return int(self.raw.start_mark.line) + 1

    @property
    def value(self) -> Any:
        """As plain data; its text where YAML makes nothing of it: an unknown tag, a wrong date."""
        try:
            return yaml.SafeLoader("").construct_object(self.raw, deep=True)
        except (yaml.YAMLError, ValueError):
            return self.raw.value

    # -- what holds other values -----------------------------------------------------------------

    def mapping(self) -> dict[str, YamlNode]:
        """Its values by their keys; a key must not stand twice."""
        if not isinstance(self.raw, yaml.MappingNode):
            self.fail(f"{self.what} must be a mapping of keys to values")
        found: dict[str, YamlNode] = {}
        for key, value in self.raw.value:
            name = str(key.value)
            if name in found:
                YamlNode(self.path, key).fail(f"'{name}' occurs twice in {self.what}")
            found[name] = YamlNode(self.path, value, f"'{name}'", self.what)
        return found

    def keys(self, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, YamlNode]:
        """Its values by their keys: all that are required, and no others than these."""
        found, required = self.mapping(), tuple(required)
        known = (*required, *optional)
        for key, _ in self.raw.value:
            if str(key.value) not in known:
                YamlNode(self.path, key).fail(
                    f"unknown key '{key.value}' in {self.what}; known: {', '.join(known)}"
                )
        for name in required:
            if name not in found:
                self.fail(f"'{name}' is missing in {self.what}; required: {', '.join(required)}")
        return found

    def entries(self, what: str = "an entry") -> list[YamlNode]:
        """The entries of a list, and what messages call one; none of an empty file."""
        if self.raw is None:
            return []
        if not isinstance(self.raw, yaml.SequenceNode):
            self.fail(f"{self.what} must be a list of entries")
        return [YamlNode(self.path, one, what, self.what) for one in self.raw.value]

    # -- single values ---------------------------------------------------------------------------

    def text(self, least: int = 1) -> str:
        """A text of at least so many characters, without the white space around it."""
        value = self.value
        if not isinstance(value, str) or (least and not value.strip()):
            self.fail(f"{self.what} must be a text, not {value!r}")
        if len(value.strip()) < least:
            self.fail(f"{self.what} must have {least} characters or more; it is '{value}'")
        return value.strip()

    def texts(self) -> tuple[str, ...]:
        """A list of texts."""
        value = self.value
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.fail(f"{self.what} must be a list of texts, such as [one, two], not {value!r}")
        return tuple(value)

    def reason(self) -> str:
        """A text of some words: why an entry is as it is."""
        text = str(self.value or "").strip()
        if len(text.split()) < WORDS_OF_A_REASON:
            self.fail(f"{self.within} needs a 'reason' of several words")
        return text

    def link(self) -> str:
        """The address of an issue."""
        text = self.text()
        if not text.startswith(("https://", "http://")):
            self.fail(f"{self.what} must be the address of an issue (https://…), not '{text}'")
        return text

    def choice(self, known: Iterable[str]) -> str:
        """One of some names."""
        text, names, kind = self.text(), tuple(known), self.what.strip("'")
        if text not in names:
            self.fail(f"unknown {kind} '{text}'; known: {', '.join(names)}")
        return text

    def flag(self) -> bool:
        """``true`` or ``false``."""
        value = self.value
        if not isinstance(value, bool):
            self.fail(f"{self.what} must be true or false, not {value!r}")
        return value

    def number(self, least: float, most: float) -> float:
        """A number, both ends included."""
        value = self._number()
        if not least <= value <= most:
            self.fail(f"{self.what} must be a number from {least:g} to {most:g}, not {self.shown}")
        return value

    def positive(self) -> float:
        """A finite number above 0."""
        value = self._number()
        if not 0 < value < math.inf:
            self.fail(f"{self.what} must be a number above 0, not {self.shown}")
        return value

    def whole(self, least: int, most: int) -> int:
        """A whole number, both ends included."""
        value = self.value
        if type(value) is not int or not least <= value <= most:  # true is no number
            self.fail(
                f"{self.what} must be a whole number from {least} to {most}, not {self.shown}"
            )
        return value

    def schema(self, number: int) -> None:
        """The number of the file's format that this code reads."""
        if type(self.value) is not int or self.value != number:  # true and 1.0 equal 1
            self.fail(f"{self.what} must be {number}, not {self.shown}")

    def specifiers(self, beside: Iterable[str] = ()) -> dict[str, str]:
        """Packages to specifiers of their versions, or to one of the words ``beside``."""
        value = self.value
        others = "".join(f" or {word}" for word in beside)
        wanted = f"{self.what} must map packages to specifiers, such as {{torch: '>=2.9'}}{others}"
        if not isinstance(value, dict):
            self.fail(f"{wanted}; it is {value!r}")
        for name, node in self.mapping().items():
            text = node.value
            if text not in tuple(beside) and not (isinstance(text, str) and is_specifier(text)):
                node.fail(f"{wanted}; '{name}' is {text!r}")
        return {str(name): node.value for name, node in self.mapping().items()}

    @property
    def shown(self) -> str:
        """The value as messages show it."""
        return repr(self.value)

    def _number(self) -> float:
        """NaN for what is none. YAML 1.1 takes ``1e6`` for a text; people do not."""
        value = self.value
        if isinstance(value, str) and not self.raw.style:
            try:
                return float(value)
            except ValueError:
                return math.nan
        known = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if known else math.nan


def is_specifier(text: str) -> bool:
    """Whether a text says which versions are meant, as pip reads it."""
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return True


def read_figures(path: Path, names: Iterable[str], key: str) -> dict[str, float]:
    """The figures of a file, each a positive number under ``key`` with its ``reason``.

    Raises:
        UsageError: a figure or a reason is missing, or there is one that nothing reads.
    """
    found = {}
    for name, node in read_yaml(path).keys(names).items():
        parts = node.keys((key, "reason"))
        parts["reason"].reason()
        found[name] = parts[key].positive()
    return found


def read_yaml(path: Path) -> YamlNode:
    """The whole of a file.

    Raises:
        UsageError: it cannot be read, or is not YAML.
    """
    try:
        return YamlNode(path, _composed(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _composed(text: str) -> yaml.Node | None:
    """The document's root. LibYAML reads ten times as fast, and its errors show no line."""
    if yaml.__with_libyaml__:
        with suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=yaml.CSafeLoader)
    return yaml.compose(text, Loader=yaml.SafeLoader)
