"""The page of a comparison: one self-contained file with the photograph in it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from onnx_conformance.cli.image_latency import PhotographTimings
from onnx_conformance.cli.predictions import ModelPredictions, label_warning
from onnx_conformance.inputs.photographs import read_photograph
from onnx_conformance.perf.latency.latency_table import milliseconds
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.report.pages import page
from onnx_conformance.session.cache_keys import environment

WIDEST = 640  # pixels of the photograph on the page


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
    small.thumbnail((WIDEST, WIDEST))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
