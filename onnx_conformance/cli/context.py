"""What every tool works with: the suite's options, its workers, its verdicts, the default route."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from onnx_conformance.catalog.exporters import EXPORTERS, Exporter, refuse_unserved
from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.checks.certificate import Certificate, holds_certificate, issue_certificate
from onnx_conformance.checks.registry import families_of
from onnx_conformance.cli.console import Arguments, Tick
from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.core.errors import ConformanceError, UsageError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.store import Store
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.plugin.options import options
from onnx_conformance.plugin.registration import adopt_records
from onnx_conformance.plugin.run_options import make_run
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.selection import varied
from onnx_conformance.run.subject import Artifact
from onnx_conformance.run.user_models import adopt


def named_model(name: str, files: Iterable[str] = ()) -> ModelSpec:
    """The model that a tool is asked for by name or pointer.

    Args:
        files: where users' models are registered, as ``--models-from`` names them.

    Raises:
        UsageError: there is none of that name.
    """
    return resolve_model(adopt(files, (name,))[0])


def only_model(file: str, names: Iterable[str]) -> str:
    """The model that a tool is asked for by the Python file that registers it.

    Args:
        names: the models of the file, repeated or not.

    Raises:
        UsageError: it registers several.
    """
    known = list(dict.fromkeys(names))
    if len(known) != 1:
        raise UsageError(
            f"{file} registers {', '.join(known)}; name one of them: "
            f"{known[0]} --models-from={file}"
        )
    return known[0]


def read_run(arguments: list[str]) -> PerfRun:
    """The suite's own options, read as pytest would read them.

    Raises:
        UsageError: the first thing that is wrong.
    """
    parser = Arguments(prog="pytest", add_help=False, allow_abbrev=False)
    for option in options():
        option.add_to(parser.add_argument)
    chosen = parser.parse_args(arguments)
    config = _Config(chosen)
    return make_run(config, adopt_records(config))


class _Config:
    """The part of pytest's configuration that a run is made of."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = vars(chosen)
        self.args: list[str] = []
        self.option = SimpleNamespace(collectonly=False, help=False)

    def getoption(self, name: str, default: Any = None) -> Any:
        return self._chosen.get(name, default)


@dataclass(frozen=True)
class ToolContext:
    """A run with its workers."""

    run: PerfRun
    store: Store
    workers: RunWorkers

    def subject(self, case: Case, given: Artifact | None = None) -> LiveSubject:
        """A case as checks see it; ``given`` is judged in place of its export."""
        return LiveSubject(case, self.workers, self.run.tolerances, given)

    def certificate(self, subject: LiveSubject) -> Certificate:
        """Every check that a case requires, or the verdict of an earlier run.

        Raises:
            ConformanceError: the first that is red, or the stage that failed.
        """
        settings, known = self.run.settings, self.run.known_failures
        if not holds_certificate(subject, settings, self.store, known):
            families = families_of(subject.model, subject.case, drawn=False)
            self.workers.plan({subject.case: families})
        return issue_certificate(subject, settings, self.store, known)


@contextmanager
def context(run: PerfRun, tick: Tick | None = None) -> Iterator[ToolContext]:
    """Start a run's workers; they end with the block."""
    with ExitStack() as stack:
        root = run.settings.cache_dir
        if run.temporary_cache:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        store = Store(root)
        workers = RunWorkers(run.settings, store, Clock(tick))
        stack.callback(workers.close)
        yield ToolContext(run, store, workers)


def reason_of(error: ConformanceError) -> str:
    """What went wrong, in one line."""
    result = getattr(error, "result", None)  # of a check's verdict
    words = str(error) if result is None else f"{result.name}: {result.reason}"
    return " ".join(words.split())


OPSET = 18  # what the dynamo exporter writes itself, and the newest that tf2onnx does


def case_with_defaults(
    model: ModelSpec,
    exporter: str = "",
    opset: int | None = None,
    *,
    provider: str = "cpu",
    options: ExportOptions | None = None,
    variant: str = "",
) -> Case:
    """The case of a model by a route, with defaults for what is left out.

    Below the opset that the preferred route writes natively, another route is chosen, because the
    preferred one would convert down, which may silently deliver another opset.

    Raises:
        UsageError: an unknown exporter, one of another framework, an opset that it does not
            support, an unknown variant, or a variant with options that are not default.
    """
    route = EXPORTERS[exporter] if exporter else preferred_route(model, opset)
    if route.framework != model.framework:
        own = [each.name for each in EXPORTERS.values() if each.framework == model.framework]
        raise UsageError(
            f"exporter {route.name} exports {route.framework} models, but {model.name} is a "
            f"{model.framework} model; its routes: {', '.join(own) or 'none'}"
        )
    if opset is None:
        opset = OPSET if route.conservative <= OPSET <= route.newest else route.newest
    case = Case(model.name, route.name, opset, provider, options or ExportOptions())
    refuse_unserved(case)
    return varied(case, variant) if variant else case


def preferred_route(model: ModelSpec, opset: int | None = None) -> Exporter:
    """The first route of the model's framework that writes an opset natively; None for OPSET.

    Raises:
        UsageError: no route exports such models.
    """
    routes = [EXPORTERS[name] for name in FRAMEWORKS[model.framework].routes]
    if not routes:
        raise UsageError(f"{model.name} is a {model.framework} model, which no route exports")
    wanted = OPSET if opset is None else opset
    return next((route for route in routes if route.conservative <= wanted), routes[-1])
