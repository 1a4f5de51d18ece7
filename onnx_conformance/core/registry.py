"""One registry for everything that has a name: models, exporters, providers, checks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from onnx_conformance.core.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")


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
        """Register a record for one run only, replacing another one if need be."""
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

    def changes(self, before: dict[str, T]) -> Callable[[], None]:
        """A function that takes back what was registered since the records were ``before``."""
        changed = {
            name: before.get(name)
            for name, record in self._records.items()
            if before.get(name) is not record
        }

        def take_back() -> None:
            for name, record in changed.items():
                if record is None:
                    self._records.pop(name, None)
                else:
                    self._records[name] = record

        return take_back


def registering(
    change: Callable[[], R], *registries: Registry[Any]
) -> tuple[R, Callable[[], None]]:
    """Call ``change``, which registers records of one run: its result, and how to take them back.

    Where it raises, they are taken back at once.
    """
    before = [dict(each.load_all()) for each in registries]

    def take_back() -> None:
        for undo in undone:
            undo()

    try:
        result = change()
    except BaseException:
        for each, records in zip(registries, before, strict=True):
            each.changes(records)()
        raise
    undone = [each.changes(records) for each, records in zip(registries, before, strict=True)]
    return result, take_back
