"""One registry for everything that has a name: models, exporters, providers, checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from onnx_conformance.core.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to records; a duplicate or unknown name is an error that lists the known ones."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._records: dict[str, T] = {}

    def register(self, name: str, record: T) -> T:
        if name in self._records:
            raise UsageError(f"{self.kind} '{name}' is registered twice; rename one of them")
        self._records[name] = record
        return record

    def put(self, name: str, record: T) -> None:
        """Register a record that is of one run only, in the place of another one if need be."""
        self._records[name] = record

    def forget(self, name: str) -> None:
        """Drop a record that is of one call only."""
        del self._records[name]

    def __getitem__(self, name: str) -> T:
        try:
            return self._records[name]
        except KeyError:
            known = ", ".join(sorted(self._records))
            raise UsageError(f"unknown {self.kind} '{name}'; known: {known}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def values(self) -> list[T]:
        return list(self._records.values())
