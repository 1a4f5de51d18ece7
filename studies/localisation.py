"""How often localisation names the right node: single-node faults of the corpus, sampled.

python -m studies.localisation MODEL EXPORTER OPSET [--count N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import ConformanceError, StageFailure
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.onnx_file import external_files, inspect, load_model
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.diagnose.divergence import Divergence
from onnx_conformance.diagnose.localisation import localise
from onnx_conformance.diagnose.subgraph import MOST_NODES, write_subgraph
from onnx_conformance.diagnose.traced_file import wrong_outputs
from onnx_conformance.inputs.families import materialise, pinned
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.subject import Artifact
from studies.corpus import FAULTS, Fault, Site
from studies.corpus.drafts import Draft
from studies.corpus.mutant_files import PLACES, load_corpus, spread
from tests.meta.running import ROOT

DISTRIBUTIONS = ("image", "normal", "large_normal", "ones")  # tried in this order, until one fails


@dataclass(frozen=True)
class Trial:
    """One mutant and what localisation said of it.

    Args:
        right: it named a node that may be blamed; None where no set of inputs failed.
        alone: the subgraph's script said that it fails; None where there is no subgraph.
    """

    fault: str
    family: str
    place: str
    root_cause: tuple[str, ...]
    named: str
    right: bool | None
    seconds: float
    nodes: int = 0
    alone: bool | None = None
    text: str = ""


def sites_of(draft: Draft, count: int, seed: int, only: str) -> list[tuple[Fault, Site]]:
    """At most ``count`` single-node faults, of as many kinds as there are, in random order."""
    load_corpus()
    rng, found = random.Random(seed), []
    for fault in FAULTS.values():
        if fault.verdict != "wrong" or (only and only not in (fault.name, fault.family)):
            continue
        sites = [site for site in spread(list(fault.sites(draft)), PLACES) if site.root_cause]
        rng.shuffle(sites)
        found += [(block, rng.random(), fault, site) for block, site in enumerate(sites)]
    found.sort(key=lambda one: one[:2])  # every kind once, then every kind again
    return [(fault, site) for _, _, fault, site in found][:count]


def failing_inputs(subject: LiveSubject) -> Inputs | None:
    """The first of the pinned inputs on which the artifact leaves the error budget."""
    recipes = pinned(subject.seed)
    for name in DISTRIBUTIONS:
        inputs = materialise(recipes[name], subject.model)
        try:
            outputs = subject.run(inputs).outputs
        except StageFailure:  # the session does not open
            return inputs
        if wrong_outputs(subject, inputs, outputs):
            return inputs
    return None


def try_one(right: LiveSubject, path: Path, fault: Fault, site: Site, folder: Path) -> Trial:
    """Localise one mutant, and run its subgraph alone."""
    place = (fault.name, fault.family, site.place, site.root_cause)
    try:
        files = (path, *external_files(path, load_model(path, weights=False)))
        digests = tuple(file_digest(file) for file in files)
        subject = right.with_artifact(Artifact(path, files, digests, inspect(path)))
        inputs = failing_inputs(subject)
        started = time.perf_counter()
        found = localise(subject, inputs) if inputs is not None else None
    except ConformanceError as error:
        return Trial(*place, "", False, 0.0, text=f"{type(error).__name__}: {error}"[:300])
    seconds = time.perf_counter() - started
    if inputs is None:
        return Trial(*place, "", None, seconds)
    if found is None:
        return Trial(*place, "", False, seconds)
    named, nodes = found.node, len(found.subgraph.nodes) if found.subgraph else 0
    alone = fails_alone(found, folder)
    return Trial(*place, named, named in site.root_cause, seconds, nodes, alone, found.text)


def fails_alone(found: Divergence, folder: Path) -> bool | None:
    """Whether the subgraph's script, in a process of its own, says that it fails."""
    if not write_subgraph(found, folder):
        return None
    command = [sys.executable, "subgraph.py"]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode == 1


def trials(right: LiveSubject, count: int, seed: int, only: str, folder: Path) -> Iterator[Trial]:
    """One after another; a mutant's file is removed once it is judged."""
    draft = Draft(right.artifact.path, dict(right.weights.arrays))
    draft.share_weights(folder)
    for fault, site in sites_of(draft, count, seed, only):
        path = folder / f"{fault.name}.onnx"
        mutant = draft.mutant()
        site.strike(mutant)
        mutant.save(path)
        yield try_one(right, path, fault, site, folder)
        path.unlink()


def summary(done: list[Trial]) -> Iterator[str]:
    """The figures, by family and in all."""
    families: dict[str, Counter[bool | None]] = defaultdict(Counter)
    for trial in done:
        families[trial.family][trial.right] += 1
    for family, counts in sorted(families.items()):
        known = counts[True] + counts[False]
        yield f"  {family:<24} {counts[True]:>4} of {known:<4} {counts[None]} without effect"
    judged = [trial for trial in done if trial.right is not None]
    right = sum(trial.right is True for trial in judged)
    share = right / len(judged) if judged else 0.0
    yield f"named rightly: {right} of {len(judged)} ({share:.1%})"
    alone = [trial for trial in judged if trial.alone is not None]
    fails = sum(trial.alone is True for trial in alone)
    most = max((trial.nodes for trial in judged), default=0)
    yield f"subgraphs: {len(alone)} made, {fails} fail alone, {most} nodes at most ({MOST_NODES})"
    slowest = max((trial.seconds for trial in judged), default=0.0)
    mean = sum(trial.seconds for trial in judged) / max(len(judged), 1)
    yield f"seconds: {mean:.1f} in the mean, {slowest:.1f} at most"


def main() -> None:
    """Measure one artifact; exit 1 where less than nine tenths are named rightly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("exporter")
    parser.add_argument("opset", type=int)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a fault or a family")
    parser.add_argument("--cache-dir", type=Path, default=Path(".conformance/cache"))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    settings = Settings(cache_dir=chosen.cache_dir.absolute())
    workers = RunWorkers(settings, Store(settings.cache_dir), Clock())
    case = Case(chosen.model, chosen.exporter, chosen.opset, "cpu")
    right = LiveSubject(case, workers, load_tolerances(ROOT / "tolerances.yaml"))
    done = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for trial in trials(right, chosen.count, chosen.seed, chosen.only, Path(folder)):
                done.append(trial)
                mark = {True: "right", False: "WRONG", None: "-"}[trial.right]
                print(f"{mark:<6}{trial.seconds:5.1f} s  {trial.fault} at {trial.place}")
                if trial.right is False or trial.alone is False:
                    print(
                        f"       named '{trial.named}', root cause: {', '.join(trial.root_cause)}"
                    )
                    print(f"       {trial.text}; {trial.nodes} nodes fail alone: {trial.alone}")
    finally:
        workers.close()
    print(f"{case.id}\n" + "\n".join(summary(done)))
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(trial) for trial in done], indent=1))
    judged = [trial for trial in done if trial.right is not None]
    sys.exit(sum(trial.right is True for trial in judged) < 0.9 * len(judged) or not judged)


if __name__ == "__main__":
    main()
