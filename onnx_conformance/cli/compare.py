"""``onnx-conformance compare``: a photograph through native and ONNX Runtime on each provider.

Exit status: 0 they agree, 1 they do not, 2 bad input.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from onnx_conformance.cli.context import ToolContext, context, named_model, read_run
from onnx_conformance.cli.default_route import case_of
from onnx_conformance.cli.image_latency import Race, Track
from onnx_conformance.cli.predictions import Scene, counterpart, look, seeing, told_apart
from onnx_conformance.cli.terminal import OK, RED, Arguments, guarded, progress, say, told_pages
from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.extras import page_module
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.photographs import read_photograph
from onnx_conformance.perf.latency.latency_table import milliseconds
from onnx_conformance.perf.run import PerfRun

TRAINED = "efficientnet_lite0"
APART = "the two models have different weights, so each is compared only with its own file"


@dataclass(frozen=True)
class Contender:
    """A model, and its cases by provider."""

    model: ModelSpec
    cases: tuple[Case, ...]


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return guarded("compare", lambda: _main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
    console = Console()
    chosen, suite = _parser().parse_known_args(arguments)
    image = Path(chosen.image)
    if not image.is_file():
        raise UsageError(f"IMAGE: there is no file {image}")
    read_photograph(image)
    with progress(console, f"reading {chosen.model}"):
        run = _run(chosen.model, chosen.artifact, suite)
        models = [named_model(chosen.model)]
    other = None if chosen.artifact else counterpart(models[0].name)
    models += [named_model(other)] if other else []
    for model in models:
        warning = told_apart(model, run.settings.weights)
        if warning:
            say(console, warning, "bold yellow")
    say(console, f"{image.name} through {', '.join(model.name for model in models)}")
    with ExitStack() as stack:
        tick = stack.enter_context(progress(console, "looking"))
        ready = stack.enter_context(context(run, tick))
        contenders = [Contender(model, _cases(ready, model)) for model in models]
        track = Track(ready)
        stack.callback(track.close)
        for each in contenders:
            _make(ready, each)
            track.start(each.model, each.cases)
        scenes = [look(ready, each.model, list(each.cases), image) for each in contenders]
        pairs = zip(scenes, contenders, strict=True)
        timed = track.race([(scene.model, _right(scene, own.cases)) for scene, own in pairs], image)
        absent = _absent(ready)
    _tell(console, scenes, timed)
    for line in absent:
        say(console, line, "dim")
    target = Path(chosen.html)
    with told_pages():
        page = page_module("onnx_conformance.cli.compare_page")
        page.write(image, scenes, timed, run, target)
        say(console, f"page: {target}", "dim")
    return OK if all(scene.agree for scene in scenes) else RED


def _make(ready: ToolContext, contender: Contender) -> None:
    """The model's weights and artifacts, which every later step reads.

    Raises:
        ConformanceError: the model cannot be built, or the file cannot be made.
    """
    for case in contender.cases:
        ready.conformance_session.artifact(case)
    ready.conformance_session.native_request(contender.model)


def _absent(ready: ToolContext) -> list[str]:
    probes = ready.conformance_session.known_probes()
    return [
        f"not available: {name}: {p['reason']}" for name, p in probes.items() if not p["usable"]
    ]


def _parser() -> Arguments:
    parser = Arguments(
        prog="compare",
        description="A photograph through the native model and ONNX Runtime on each provider.",
        epilog="Other options are the suite's: --weights=pretrained, --provider=cuda, --seed=7 …",
        allow_abbrev=False,
    )
    parser.add_argument("image", help="a photograph: PNG, JPEG, …")
    parser.add_argument("--model", default=TRAINED, help=f"default: {TRAINED}, which is trained")
    parser.add_argument("--artifact", default="", help="this ONNX file in place of an export")
    parser.add_argument(
        "--html", default=str(project().outputs / "compare.html"), help="where the page goes"
    )
    return parser


def _run(model: str, artifact: str, suite: list[str]) -> PerfRun:
    given = [f"--artifact={artifact}"] if artifact else []
    return read_run(["--model", model, "--first-finding", *given, *suite])


def _cases(ready: ToolContext, model: ModelSpec) -> tuple[Case, ...]:
    """The model's case on each provider of the run that works here.

    Raises:
        UsageError: none of them does, or several files are given.
    """
    providers = dict.fromkeys(case.provider for case in ready.run.cases)
    probes = {name: ready.conformance_session.probe(name) for name in providers}
    usable = [name for name, probe in probes.items() if probe.usable]
    if not usable:
        told = "; ".join(f"{name}: {probe.reason}" for name, probe in probes.items())
        raise UsageError(f"none of the providers that were asked for works here ({told})")
    given = [case for case in ready.run.cases if isinstance(case, ExternalCase)]
    if given:
        if len({case.path for case in given}) > 1:
            raise UsageError("ARTIFACT names a folder of several files; name one file")
        return tuple(case for case in given if case.provider in usable)
    chosen = ready.run.selection
    exporter = next(iter(chosen.exporters), "")
    opset = next(iter(chosen.opsets), None)
    return tuple(case_of(model, exporter, opset, provider=name) for name in usable)


def _right(scene: Scene, cases: tuple[Case, ...]) -> list[Case]:
    """The cases whose answer is right; a wrong answer is not timed."""
    verdicts = [
        prediction.verdict for prediction in scene.predictions if prediction.verdict is not None
    ]
    return [case for case, verdict in zip(cases, verdicts, strict=True) if verdict.passed]


def _tell(console: Console, scenes: list[Scene], timed: Race) -> None:
    for scene in scenes:
        console.print(_predictions(scene))
        if scene.assumed:
            say(console, _assumed(scene.model), "dim")
        for prediction in scene.predictions:
            if prediction.verdict is not None:
                passed = prediction.verdict.passed
                words = "agrees with" if passed else "DISAGREES with"
                told = "" if passed else f": {prediction.verdict.reason}"
                mark = "✓" if passed else "✗"
                line = f"{mark} {prediction.who} {words} {scene.predictions[0].who}{told}"
                say(console, line, "green" if passed else "bold red")
    if len(scenes) > 1:
        say(console, APART, "dim")
    console.print(_latencies(timed))
    for line in timed.absent:
        say(console, f"not timed: {line}", "yellow")
    say(console, timed.winner, "bold")


def _assumed(model: ModelSpec) -> str:
    how = seeing(model).preprocessing
    assert how is not None
    return (
        f"assumed preprocessing, because the model names none: resize {how.resize}, "
        f"crop {how.crop}, mean {how.mean}, std {how.std}"
    )


def _predictions(scene: Scene) -> Table:
    table = Table(title=f"{scene.model.name}: top 5", title_justify="left")
    table.add_column("")
    for prediction in scene.predictions:
        table.add_column(prediction.who)
    for place in range(max(len(prediction.top) for prediction in scene.predictions)):
        cells = [
            f"{prediction.top[place][0]} {prediction.top[place][1]:.1f} %"
            if prediction.top
            else "no answer"
            for prediction in scene.predictions
        ]
        table.add_row(str(place + 1), *cells)
    return table


def _latencies(timed: Race) -> Table:
    table = Table(title="one photograph, interleaved", title_justify="left")
    table.add_column("who", no_wrap=True)
    for heading in ("median", "95 % interval", "time over the fastest"):
        table.add_column(heading, justify="right")
    for each in timed.latencies:
        interval = f"{milliseconds(each.low)} – {milliseconds(each.high)}"
        behind = "" if each.behind is None else str(each.behind)
        table.add_row(each.who, milliseconds(each.median), interval, behind)
    return table


if __name__ == "__main__":
    sys.exit(main())
