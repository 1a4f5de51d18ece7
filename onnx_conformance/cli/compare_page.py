"""The page of a comparison: one self-contained file with the photograph in it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from onnx_conformance.cli.image_latency import Race
from onnx_conformance.cli.predictions import Prediction, Scene, told_apart
from onnx_conformance.inputs.photographs import read_photograph
from onnx_conformance.perf.latency.latency_table import milliseconds
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.report.pages import page
from onnx_conformance.session.cache_keys import environment

WIDEST = 640  # pixels of the photograph on the page


def render(image: Path, scenes: list[Scene], timed: Race, run: PerfRun) -> str:
    """The page."""
    agree = all(scene.agree for scene in scenes)
    slowest = max((each.high for each in timed.latencies), default=1.0)
    shown = {
        "verdict": "passed" if agree else "failed",
        "headline": "They agree" if agree else "They do not agree",
        "warnings": [told_apart(scene.model, run.settings.weights) for scene in scenes],
        "name": image.name,
        "photograph": _data_uri(image),
        "scenes": [_scene(scene) for scene in scenes],
        "latencies": [
            {
                "who": each.who,
                "median": each.median,
                "low": each.low,
                "high": each.high,
                "behind": each.behind,
                "width": _share(each.median, slowest),
                "from": _share(each.low, slowest),
                "interval": _share(each.high - each.low, slowest),
            }
            for each in timed.latencies
        ],
        "absent": timed.absent,
        "winner": timed.winner,
        "threads": run.settings.threads,
        "environment": environment(),
    }
    return page("compare.html.j2", shown, milliseconds=milliseconds)


def _share(part: float, whole: float) -> float:
    return round(100 * part / whole, 2)


def _scene(scene: Scene) -> dict[str, Any]:
    return {
        "model": scene.model.name,
        "assumed": scene.assumed,
        "preprocessing": scene.model.preprocessing,
        "predictions": [_prediction(prediction) for prediction in scene.predictions],
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    verdict = prediction.verdict
    return {
        "who": prediction.who,
        "top": prediction.top,
        "verdict": None if verdict is None else ("passed" if verdict.passed else "failed"),
        "reason": None if verdict is None or verdict.passed else verdict.reason,
        "score": None if verdict is None else verdict.score,
        "budget": None if verdict is None else verdict.budget,
    }


def _data_uri(image: Path) -> str:
    """The photograph, upright and small, inside the page."""
    small = read_photograph(image)
    small.thumbnail((WIDEST, WIDEST))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
