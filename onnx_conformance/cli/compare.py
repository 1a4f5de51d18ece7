"""``onnx-conformance compare``: a photograph through native and ONNX Runtime on each provider.

Exit status: 0 they agree, 1 they do not, 2 bad input.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from onnx_conformance.cli.console import OK, RED, Arguments, progress, say
from onnx_conformance.cli.context import (
    ToolContext,
    case_with_defaults,
    context,
    named_model,
    read_run,
)
from onnx_conformance.cli.image_latency import PhotographBench, PhotographTimings
from onnx_conformance.cli.predictions import (
    ModelPredictions,
    counterpart,
    label_warning,
    predict,
    with_preprocessing,
)
from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.photographs import read_photograph
from onnx_conformance.perf.latency.latency_table import milliseconds
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.report.pages import page, write_page
from onnx_conformance.run.cache_keys import environment

PHOTOGRAPH_PIXELS = 640  # pixels of the photograph on the page
DEFAULT_MODEL = "efficientnet_lite0"
OTHER_WEIGHTS = "the two models have different weights, so each is compared only with its own file"


@dataclass(frozen=True)
class ComparedModel:
    """A model, and its cases by provider."""

    model: ModelSpec
    cases: tuple[Case, ...]


def main(arguments: Sequence[str]) -> int:
    """Run the tool; returns its exit status."""
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
        warning = label_warning(model, run.settings.weights)
        if warning:
            say(console, warning, "bold yellow")
    say(console, f"{image.name} through {', '.join(model.name for model in models)}")
    with progress(console, "predicting") as tick, context(run, tick) as ready:
        answers, timed = _compared(ready, models, image)
        absent = _absent(ready)
    _print(console, answers, timed)
    for line in absent:
        say(console, line, "dim")
    target = Path(chosen.html)
    shown = (image, answers, timed, run)
    say(console, write_page("onnx_conformance.cli.compare", target, "--html", *shown), "dim")
    return OK if all(model_answers.agree for model_answers in answers) else RED


def _compared(
    ready: ToolContext, models: Sequence[ModelSpec], image: Path
) -> tuple[list[ModelPredictions], PhotographTimings]:
    """What the models and their files see on the photograph, and how long the right ones take."""
    contenders = [ComparedModel(model, _cases(ready, model)) for model in models]
    with closing(PhotographBench(ready)) as bench:
        for each in contenders:
            _make(ready, each)
            bench.start(each.model, each.cases)
        answers = [predict(ready, each.model, list(each.cases), image) for each in contenders]
        pairs = zip(answers, contenders, strict=True)
        right = [(found.model, _right(found, each.cases)) for found, each in pairs]
        return answers, bench.time(right, image)


def _make(ready: ToolContext, contender: ComparedModel) -> None:
    """The model's weights and artifacts, which every later step reads.

    Raises:
        ConformanceError: the model cannot be built, or the file cannot be made.
    """
    for case in contender.cases:
        ready.workers.artifact(case)
    ready.workers.native_request(contender.model)


def _absent(ready: ToolContext) -> list[str]:
    probes = ready.workers.known_probes()
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
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help=f"default: {DEFAULT_MODEL}, which is trained"
    )
    parser.add_argument("--artifact", default="", help="this ONNX file in place of an export")
    parser.add_argument(
        "--html", default=str(project().outputs / "compare.html"), help="where the page goes"
    )
    return parser


def _run(model: str, artifact: str, suite: list[str]) -> PerfRun:
    external = [f"--artifact={artifact}"] if artifact else []
    return read_run(["--model", model, "--first-finding", *external, *suite])


def _cases(ready: ToolContext, model: ModelSpec) -> tuple[Case, ...]:
    """The model's case on each provider of the run that works here.

    Raises:
        UsageError: none of them does, or several files are given.
    """
    providers = dict.fromkeys(case.provider for case in ready.run.cases)
    probes = {name: ready.workers.probe(name) for name in providers}
    usable = [name for name, probe in probes.items() if probe.usable]
    if not usable:
        reason = "; ".join(f"{name}: {probe.reason}" for name, probe in probes.items())
        raise UsageError(f"no provider that was asked for works here ({reason})")
    external = [case for case in ready.run.cases if isinstance(case, ExternalCase)]
    if external:
        if len({case.path for case in external}) > 1:
            raise UsageError("ARTIFACT names a folder of several files; name one file")
        return tuple(case for case in external if case.provider in usable)
    chosen = ready.run.selection
    exporter = next(iter(chosen.exporters), "")
    opset = next(iter(chosen.opsets), None)
    return tuple(case_with_defaults(model, exporter, opset, provider=name) for name in usable)


def _right(answers: ModelPredictions, cases: tuple[Case, ...]) -> list[Case]:
    """The cases whose answer is right; a wrong answer is not timed."""
    verdicts = [
        prediction.verdict for prediction in answers.predictions if prediction.verdict is not None
    ]
    return [case for case, verdict in zip(cases, verdicts, strict=True) if verdict.passed]


def _print(console: Console, answers: list[ModelPredictions], timed: PhotographTimings) -> None:
    for model_answers in answers:
        console.print(_predictions(model_answers))
        if model_answers.assumed:
            say(console, _assumed(model_answers.model), "dim")
        for prediction in model_answers.predictions:
            if prediction.verdict is not None:
                passed = prediction.verdict.passed
                words = "agrees with" if passed else "DISAGREES with"
                reason = "" if passed else f": {prediction.verdict.reason}"
                mark = "✓" if passed else "✗"
                line = f"{mark} {prediction.who} {words} {model_answers.predictions[0].who}{reason}"
                say(console, line, "green" if passed else "bold red")
    if len(answers) > 1:
        say(console, OTHER_WEIGHTS, "dim")
    console.print(_latencies(timed))
    for line in timed.absent:
        say(console, f"not timed: {line}", "yellow")
    say(console, timed.winner, "bold")


def _assumed(model: ModelSpec) -> str:
    how = with_preprocessing(model).preprocessing
    assert how is not None
    return (
        f"assumed preprocessing, because the model names none: resize {how.resize}, "
        f"crop {how.crop}, mean {how.mean}, std {how.std}"
    )


def _predictions(model_answers: ModelPredictions) -> Table:
    table = Table(title=f"{model_answers.model.name}: top 5", title_justify="left")
    table.add_column("")
    for prediction in model_answers.predictions:
        table.add_column(prediction.who)
    for place in range(max(len(prediction.top) for prediction in model_answers.predictions)):
        cells = [
            f"{prediction.top[place][0]} {prediction.top[place][1]:.1f} %"
            if prediction.top
            else "no answer"
            for prediction in model_answers.predictions
        ]
        table.add_row(str(place + 1), *cells)
    return table


def _latencies(timed: PhotographTimings) -> Table:
    table = Table(title="one photograph, interleaved", title_justify="left")
    table.add_column("who", no_wrap=True)
    for heading in ("median", "95 % interval", "time over the fastest"):
        table.add_column(heading, justify="right")
    for each in timed.latencies:
        interval = f"{milliseconds(each.low)} – {milliseconds(each.high)}"
        behind = "" if each.behind is None else str(each.behind)
        table.add_row(each.who, milliseconds(each.median), interval, behind)
    return table


def render(
    image: Path, answers: list[ModelPredictions], timed: PhotographTimings, run: PerfRun
) -> str:
    """The page."""
    agree = all(one.agree for one in answers)
    slowest = max((each.high for each in timed.latencies), default=1.0)
    context = {
        "verdict": "passed" if agree else "failed",
        "headline": "They agree" if agree else "They do not agree",
        "warnings": [label_warning(one.model, run.settings.weights) for one in answers],
        "name": image.name,
        "photograph": _data_uri(image),
        "answers": answers,
        "timed": timed,
        "threads": run.settings.threads,
        "environment": environment(),
    }
    return page(
        "compare.html.j2",
        context,
        milliseconds=milliseconds,
        share=lambda seconds: round(100 * seconds / slowest, 2),
    )


def _data_uri(image: Path) -> str:
    """The photograph, upright and small, inside the page."""
    small = read_photograph(image)
    small.thumbnail((PHOTOGRAPH_PIXELS, PHOTOGRAPH_PIXELS))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
