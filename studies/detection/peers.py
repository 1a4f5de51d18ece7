"""A file under other tools' rules: native's answers against the file's on their inputs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.errors import WorkerError
from onnx_conformance.inputs.families import materialise
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.worker_client import ProcessWorkerClient, WorkerClient
from studies.detection.rules import Rule
from tests.meta.cpu_session import cpu_session

LIMIT = 300.0  # seconds for a call into the runtime


class Runtime:
    """ONNX Runtime on the CPU provider, in a process of its own; a dead one is replaced."""

    def __init__(self) -> None:
        self._worker: WorkerClient = ProcessWorkerClient("onnxruntime")

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()

    def input_names(self, path: Path) -> list[str]:
        """What the file calls its inputs. Raises EngineError: it does not load."""
        opened = self._worker.call("open", LIMIT, session=cpu_session(path))
        return [tensor["name"] for tensor in opened["inputs"]]

    def outputs(self, path: Path, input_sets: Iterable[Inputs]) -> list[list[Array] | None]:
        """The outputs by order for each set of inputs, given by order; None where it refuses.

        Raises:
            EngineError: the file does not load.
        """
        names = self.input_names(path)
        fed = [dict(zip(names, inputs.values(), strict=False)) for inputs in input_sets]
        rows = self._worker.call("run", LIMIT, session=cpu_session(path), input_sets=fed)
        return [list(row["outputs"].values()) if "outputs" in row else None for row in rows]


def native_answers(
    workers: RunWorkers, model: str, rules: tuple[Rule, ...]
) -> dict[Recipe, list[Array]]:
    """What native float32 answers to all inputs of the rules, outputs in the model's order."""
    spec = resolve_model(model)
    recipes = dict.fromkeys(recipe for rule in rules for recipe in rule.recipes)
    found = {recipe: workers.native(spec, materialise(recipe, spec)) for recipe in recipes}
    return {
        recipe: [outputs[tensor.name] for tensor in spec.outputs]
        for recipe, outputs in found.items()
    }


def found_by(
    runtime: Runtime,
    path: Path,
    model: str,
    rules: tuple[Rule, ...],
    native: dict[Recipe, list[Array]],
) -> dict[str, bool]:
    """Rule -> whether it fails the file. Inputs are run only while a rule still asks for them."""
    spec = resolve_model(model)
    found = {rule.name: False for rule in rules}
    for recipe, expected in native.items():
        asking = [rule for rule in rules if recipe in rule.recipes and not found[rule.name]]
        if not asking:
            continue
        try:
            got = runtime.outputs(path, [materialise(recipe, spec)])[0]
        except WorkerError:
            got = None
        for rule in asking:
            found[rule.name] = got is None or not rule.accepts(got, expected)
    return found
