"""Are the verdicts on int8 right? Fresh samples for each seed: clean files green, spoiled ones red.

``make quantised-seeds``; N=20 for fewer. Each seed draws its own calibration and evaluation samples
of the digits classifier. The spoiled: wrong zero points, one layer saturated, and answers of which
four in a hundred became wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from rich.progress import track

from onnx_conformance.checks.controls import changed, edited
from onnx_conformance.checks.controls_of_answers import layer_saturated, zero_points_wrong
from onnx_conformance.checks.precision import CLASSIFIER, check_composition, check_sqnr
from onnx_conformance.checks.task import check_task
from onnx_conformance.cli.context import context, read_run
from onnx_conformance.core.case import DerivedCase
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.inputs.samples import calibration_inputs
from onnx_conformance.run.subject import Artifact
from onnx_conformance.workers.variants import int8_static

CHECKS = (check_sqnr, check_task, check_composition)
LOSS = 0.04


def lossy(outputs, inputs, repeat):
    """Four in a hundred of the answers name the class that comes last."""
    found = {}
    for name, array in outputs.items():
        digest = np.frombuffer(bytes.fromhex(inputs.digest[:16]), np.uint32)
        wrong = np.random.default_rng(digest).random(len(array)) < LOSS
        found[name] = np.where(wrong[:, np.newaxis], -array, array)
    return found


def subjects(plain, seed, folder):
    """The clean conversion of a seed and the spoiled ones, by name."""
    path = folder / f"{seed}.onnx"
    int8_static(plain.artifact.path, path, calibration_inputs(plain.model, seed))
    made = Artifact(path, (path,), (file_digest(path),), inspect(path))
    clean = plain.with_artifact(made)
    clean.case, clean.seed = CLASSIFIER, seed
    spoiled = {"zero points wrong": zero_points_wrong, "a layer saturated": layer_saturated}
    found = {"clean": clean}
    for name, edit in spoiled.items():
        place = folder / f"{seed} {name}"
        place.mkdir()
        found[name] = edited(clean, place, edit)
        found[name].case, found[name].seed = CLASSIFIER, seed
    return {**found, "4 points less accurate": changed(clean, lossy)}


def main(arguments):
    parser = argparse.ArgumentParser(prog="make quantised-seeds")
    parser.add_argument("--n", type=int, default=100, help="seeds (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    run = read_run(["--model=digits_cnn", "--provider=cpu"])
    green: Counter[str] = Counter()
    with context(run) as opened, tempfile.TemporaryDirectory() as folder:
        case = next(case for case in run.cases if not isinstance(case, DerivedCase))
        plain = opened.subject(case)
        for seed in track(range(chosen.n), "seeds"):
            for name, subject in subjects(plain, seed, Path(folder)).items():
                green[name] += all(check(subject).passed for check in CHECKS)
    for name in ("clean", "zero points wrong", "a layer saturated", "4 points less accurate"):
        print(f"{name:24} green {green[name]:4} of {chosen.n}")
    return int(green["clean"] < chosen.n or green.total() > green["clean"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
