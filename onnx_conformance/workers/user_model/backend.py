"""The backend that imports a user's file or module and returns the spec of each model in it."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import REGISTERED, Declaration, Pointer, zoo_of
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import spec_as_data
from onnx_conformance.workers.import_code import load_file, load_module, user_modules
from onnx_conformance.workers.user_model.describe import specify


class UserModelBackend:
    """Imports code that a user named, in a process of its own."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._names: list[str] = []
        self._refused: dict[str, str] = {}

    def describe(
        self, files: list[str], pointers: list[dict[str, str]], wanted: list[str], weights: str,
        seed: int,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Specs, as plain data, of the models that files register and pointers name.

        A model that is refused is left out, and :meth:`refused` tells why; if none is left, the
        first refusal is raised.

        Args:
            files: Python files or modules.
            wanted: names of models to look at; all where it is empty.
        """
        project().load()  # a model may name a task that its project registers
        found: list[tuple[Declaration, str, tuple[str, ...]]] = []
        self._names = []
        for file in files:
            module, declared = load_file(file) if file.endswith(".py") else load_module(file)
            if not declared:
                raise UsageError(
                    f'{file} registers no model; put @register_model("name", inputs=[...]) '
                    "above a function that returns one"
                )
            self._names += [one.name for one in declared]
            chosen = [one for one in declared if not wanted or one.name in wanted]
            _refuse_twice([one.name for one in chosen])
            found += [(one, _reference(file, one), ()) for one in chosen]
        for pointer in pointers:
            found.append(_pointed(Pointer(**pointer)))
            self._names.append(found[-1][0].name)
        _refuse_twice([one.name for one, _, _ in found])
        specs: list[dict[str, Any]] = []
        self._refused = {}
        for one, reference, arguments in found:
            try:
                spec = specify(one, reference, arguments, weights, seed, threads=self._threads)
            except UsageError as error:
                self._refused[one.name] = str(error)
                continue
            except Exception as error:  # noqa: BLE001 - the other models of the file are judged
                self._refused[one.name] = _internal_error(one.name, error)
                continue
            specs.append(spec_as_data(spec))
        if self._refused and not specs:
            raise UsageError(next(iter(self._refused.values())))
        return specs

    def refused(self) -> dict[str, str]:
        """Why chosen models were refused in the last description, by name."""
        return self._refused

    def names(self) -> list[str]:
        """What was described, and what else the files register."""
        return self._names

    def modules(self) -> dict[str, str]:
        """The files of the user's modules that were imported, by the modules' names."""
        return {name: str(path) for name, path in user_modules().items()}


def _internal_error(name: str, error: Exception) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"model '{name}': internal error: {reason}; this is a fault of the suite: please report"


def _refuse_twice(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"model '{name}' is registered twice; rename one of them")


def _reference(file: str, one: Declaration) -> str:
    """How the workers find the builder: by the name under which the file registers it."""
    return f"{Path(file).absolute() if file.endswith('.py') else file}:{REGISTERED}{one.name}"


def _pointed(pointer: Pointer) -> tuple[Declaration, str, tuple[str, ...]]:
    """What a pointer names: a registered function or a plain one."""
    zoo = zoo_of(pointer.pool, pointer.member)
    if zoo is not None:
        module_name, function = zoo.builder.split(":")
        builder = getattr(load_module(module_name)[0], function)
        one = Declaration(pointer.name, builder, calibrate=zoo.calibrate)
        return one, zoo.builder, (pointer.member,)
    file = pointer.pool.endswith(".py")
    if pointer.pool.endswith(".onnx"):
        from onnx_conformance.workers.user_model.onnx_reference import file as path_of

        return (
            Declaration(pointer.name, path_of),
            "onnx_conformance.workers.user_model.onnx_reference:file",
            (pointer.pool,),
        )
    module, declared = load_file(pointer.pool) if file else load_module(pointer.pool)
    builder = getattr(module, pointer.member, None)
    if not callable(builder):
        functions = [v for v in vars(module).values() if inspect.isfunction(v)]
        known = sorted(v.__name__ for v in functions if v.__module__ == module.__name__)
        raise UsageError(
            f"{pointer.pool} has no function '{pointer.member}'; it has: {', '.join(known) or '-'}"
        )
    place = f"{Path(pointer.pool).absolute() if file else pointer.pool}:{pointer.member}"
    same = [one for one in declared if one.builder is builder]
    plain = same[0] if same else Declaration(pointer.name, builder)
    return replace(plain, name=pointer.name), place, ()
