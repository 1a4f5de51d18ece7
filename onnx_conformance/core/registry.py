"""One registry for everything that has a name: models, exporters, providers, checks."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Generic, TypeVar

from onnx_conformance.core.errors import UsageError

T = TypeVar("T")


def _home(record: object) -> str:
    """The module of the function that a record holds; empty where it holds none."""
    return str(getattr(getattr(record, "function", None), "__module__", ""))


class Registry(Generic[T]):
    """Names to records; a duplicate or unknown name is an error that lists the known ones.

    Args:
        kind: what the records are, as errors call them.
        modules: the modules that register records, imported when a record is first asked for and
            not before: so none of them is imported by another's ``__init__``.
    """

    def __init__(self, kind: str, modules: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self._modules = modules
        self._records: dict[str, T] = {}

    def load_all(self) -> dict[str, T]:
        """The records, once every module that registers some was imported."""
        modules, self._modules = self._modules, ()
        for module in modules:
            importlib.import_module(module)
        if modules:  # in their order, whichever of them imports another first
            order = {module: place for place, module in enumerate(modules)}
            self._records = dict(
                sorted(
                    self._records.items(), key=lambda item: order.get(_home(item[1]), len(order))
                )
            )
        return self._records

    def register(self, name: str, record: T) -> T:
        """Add a record under a name.

        Raises:
            UsageError: the name is taken.
        """
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
            return self.load_all()[name]
        except KeyError:
            known = ", ".join(sorted(self._records))
            raise UsageError(f"unknown {self.kind} '{name}'; known: {known}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.load_all()

    def __iter__(self) -> Iterator[str]:
        return iter(self.load_all())

    def values(self) -> list[T]:
        """The records in the order in which they were registered."""
        return list(self.load_all().values())
