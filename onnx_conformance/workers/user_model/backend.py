"""The backend that imports a user's file or module and returns the spec of each model in it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_conformance.catalog.models import REGISTERED, Declaration, Pointer, zoo_of
from onnx_conformance.core.errors import UsageError, where
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.worker_messages import DescribedModels
from onnx_conformance.workers.import_code import load_code, user_modules
from onnx_conformance.workers.user_model.describe import specify


@dataclass(frozen=True)
class _Chosen:
    """A declared model, and the builder (``place:name``) and arguments by which workers have it."""

    declaration: Declaration
    reference: str
    arguments: tuple[str, ...] = ()


class UserModelBackend:
    """Imports code that a user named, in a process of its own."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def describe(
        self, files: list[str], pointers: list[Pointer], wanted: list[str], weights: str,
        seed: int,
    ) -> DescribedModels:  # fmt: skip
        """The models that files register and pointers name.

        A model that is refused is left out; if none is left, the first refusal is raised.

        Args:
            files: Python files or modules.
            wanted: names of models to look at; all where it is empty.
        """
        project().load()  # a model may name a task that its project registers
        names, chosen = _declared(files, wanted)
        for pointer in pointers:
            chosen.append(_pointed(pointer))
            names.append(chosen[-1].declaration.name)
        _refuse_twice([each.declaration.name for each in chosen])
        specs: list[ModelSpec] = []
        refused: dict[str, str] = {}
        for each in chosen:
            name = each.declaration.name
            try:
                spec = specify(
                    each.declaration, each.reference, each.arguments, weights, seed,
                    threads=self._threads,
                )  # fmt: skip
            except UsageError as error:
                refused[name] = str(error)
                continue
            except Exception as error:  # noqa: BLE001 - the other models of the file are judged
                refused[name] = _internal_error(name, error)
                continue
            specs.append(spec)
        if refused and not specs:
            raise UsageError(next(iter(refused.values())))
        modules = {name: str(path) for name, path in user_modules().items()}
        return {"specs": specs, "names": names, "refused": refused, "modules": modules}


def _declared(files: list[str], wanted: list[str]) -> tuple[list[str], list[_Chosen]]:
    """All names that files register, and the wanted models among them."""
    names: list[str] = []
    chosen: list[_Chosen] = []
    for file in files:
        declared = load_code(file)[1]
        if not declared:
            raise UsageError(
                f'{file} registers no model; put @register_model("name", inputs=[...]) '
                "above a function that returns one"
            )
        names += [each.name for each in declared]
        those = [each for each in declared if not wanted or each.name in wanted]
        _refuse_twice([each.name for each in those])
        chosen += [_Chosen(each, f"{_place(file)}:{REGISTERED}{each.name}") for each in those]
    return names, chosen


def _internal_error(name: str, error: Exception) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    place = (where(error) or ["?"])[-1]
    return (
        f"model '{name}': internal error at {place}: {reason}; this is a fault of the suite: "
        "please report"
    )


def _refuse_twice(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"model '{name}' is registered twice; rename one of them")


def _place(code: str) -> str:
    """How the workers find a file or a module."""
    return str(Path(code).absolute()) if code.endswith(".py") else code


def _pointed(pointer: Pointer) -> _Chosen:
    """What a pointer names: a registered function or a plain one."""
    zoo = zoo_of(pointer.pool, pointer.member)
    if zoo is not None:
        module_name, function = zoo.builder.split(":")
        builder = getattr(load_code(module_name)[0], function)
        one = Declaration(pointer.name, builder, calibrate=zoo.calibrate)
        return _Chosen(one, zoo.builder, (pointer.member,))
    if pointer.pool.endswith(".onnx"):
        from onnx_conformance.workers.onnx.user_models import file as path_of

        reference = f"{path_of.__module__}:{path_of.__name__}"
        return _Chosen(Declaration(pointer.name, path_of), reference, (pointer.pool,))
    module, declared = load_code(pointer.pool)
    builder = getattr(module, pointer.member, None)
    if not callable(builder):
        functions = [v for v in vars(module).values() if inspect.isfunction(v)]
        known = sorted(v.__name__ for v in functions if v.__module__ == module.__name__)
        raise UsageError(
            f"{pointer.pool} has no function '{pointer.member}'; it has: {', '.join(known) or '-'}"
        )
    place = f"{_place(pointer.pool)}:{pointer.member}"
    same = [one for one in declared if one.builder is builder]
    plain = same[0] if same else Declaration(pointer.name, builder)
    return _Chosen(replace(plain, name=pointer.name), place)
