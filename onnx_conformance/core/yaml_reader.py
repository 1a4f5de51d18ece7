"""YAML whose errors name the line: people write these files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import yaml

from onnx_conformance.core.errors import UsageError

WORDS_OF_A_REASON = 3


def compose(path: Path) -> Any:
    """The root node of a file; None if it is empty.

    Raises:
        UsageError: it cannot be read, or is no YAML.
    """
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from error


class NodeReader:
    """Walks YAML nodes, because they remember their lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, node: Any, problem: str) -> NoReturn:
        """Raise a UsageError that names the file and the node's line."""
        line = f", line {node.start_mark.line + 1}" if node is not None else ""
        raise UsageError(f"{self.path}{line}: {problem}")

    def mapping(self, node: Any, what: str) -> dict[str, Any]:
        """Key -> node of a mapping; a repeated key is an error."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what} must be a mapping of keys to values")
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in found:
                self.fail(key, f"'{name}' stands twice in {what}")
            found[name] = value
        return found

    def exactly(self, node: Any, found: dict[str, Any], keys: tuple[str, ...], what: str) -> None:
        """The mapping has these keys, each of them and no other."""
        self.among(node, keys, what)
        for key in keys:
            if key not in found:
                self.fail(node, f"'{key}' is missing in {what}")

    def among(self, node: Any, keys: tuple[str, ...], what: str) -> None:
        """The mapping has no key but these."""
        for key, _ in node.value:
            if str(key.value) not in keys:
                known = ", ".join(keys)
                self.fail(key, f"unknown key '{key.value}' in {what}; known: {known}")

    def value(self, node: Any) -> Any:
        """A node as plain data; its text where YAML makes nothing of it."""
        try:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError):  # an unknown tag, a date that is none
            return node.value

    def reason(self, node: Any, where: str) -> str:
        """A text of some words: why an entry is as it is."""
        text = str(self.value(node) or "").strip()
        if len(text.split()) < WORDS_OF_A_REASON:
            self.fail(node, f"{where} needs a 'reason' in some words")
        return text
