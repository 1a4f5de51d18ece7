"""The suite's command-line options."""

from __future__ import annotations

from typing import Any

from onnx_conformance.catalog.frameworks import exported_frameworks
from onnx_conformance.core.project import project
from onnx_conformance.core.tolerances import OF_FILES
from onnx_conformance.perf.options import add_gate_options, add_timing_options

SEVERAL: dict[str, Any] = {"action": "append", "default": []}


def add_options(group: Any) -> None:
    """Add every option of the suite to pytest's option group."""
    _add_cases(group)
    _add_places(group)
    _add_judgement(group)
    _add_explanations(group)
    _add_reports(group)
    _add_many_cases(group)
    _add_workers(group)
    add_timing_options(group)
    add_gate_options(group)


def _add_cases(group: Any) -> None:
    """What is certified: models, files, and how files are made."""
    group.addoption(
        "--model",
        metavar="NAME",
        help="certify this model, registered or by a pointer (repeatable)",
        **SEVERAL,
    )
    group.addoption(
        "--models-from",
        metavar="FILE",
        help="a Python file or module with @register_model functions (repeatable)",
        **SEVERAL,
    )
    group.addoption(
        "--artifact",
        metavar="PATH",
        help="certify this ONNX file, or those in this folder, against --model (repeatable); an "
        "encoder and its decoders are judged in a row too",
        **SEVERAL,
    )
    group.addoption(
        "--against",
        metavar="PATH",
        help="compare --artifact with this ONNX file, where there is no native model; of a folder, "
        "each file with its namesake",
    )
    group.addoption(
        "--precision",
        metavar="CLASS",
        choices=OF_FILES,
        help="the precision in which the files of --artifact compute: float32 (default), float16 "
        "or int8",
    )
    group.addoption(
        "--exporter", metavar="NAME", help="export by this route (repeatable)", **SEVERAL
    )
    group.addoption(
        "--opset", metavar="N", type=int, help="export at this opset (repeatable)", **SEVERAL
    )
    group.addoption(
        "--variant",
        metavar="NAME",
        help="certify this variant of the exported files too: ort_basic, fp16, int8_static, … "
        "(docs/quantisation.md; repeatable)",
        **SEVERAL,
    )
    group.addoption(
        "--framework",
        choices=tuple(framework.name for framework in exported_frameworks()),
        help="run the cases of this framework, and skip those of others (repeatable)",
        **SEVERAL,
    )
    group.addoption(
        "--weights",
        choices=("calibrated", "pretrained"),
        default="calibrated",
        help="random weights that keep outputs alive (calibrated, the default), or the frameworks' "
        "pretrained weights",
    )
    group.addoption(
        "--seed", metavar="N", type=int, default=0, help="seed of weights and inputs (default: 0)"
    )


def _add_places(group: Any) -> None:
    """Where files run."""
    group.addoption(
        "--provider", metavar="NAME", help="run on this execution provider (repeatable)", **SEVERAL
    )
    group.addoption(
        "--provider-library",
        metavar="NAME=PATH",
        help="run on the provider of this plugin library or installed plugin package too, under "
        "this name; loading it runs its code (repeatable)",
        **SEVERAL,
    )
    group.addoption(
        "--answers",
        metavar="[LABEL=]DIR",
        help="judge what run.py of a kit wrote on another machine (docs/other-machines.md; "
        "repeatable)",
        **SEVERAL,
    )
    group.addoption(
        "--custom-op-library",
        metavar="PATH",
        help="a library of operators for ONNX Runtime to load, which runs its code (repeatable)",
        **SEVERAL,
    )
    group.addoption(
        "--require",
        metavar="NAME",
        help="fail unless a case passed on this provider (gpu: on any GPU provider; repeatable)",
        **SEVERAL,
    )
    group.addoption(
        "--min-placement",
        metavar="SHARE",
        type=float,
        help="fail where the provider runs less than this share of the nodes, 0 to 1; the others "
        "fall back to the CPU (default: one node suffices; for a gate 0.95, from its rules)",
    )
    group.addoption(
        "--no-cpu-fallback",
        action="store_true",
        help="fail where a session would leave a node to the CPU provider",
    )


def _add_judgement(group: Any) -> None:
    """How they are judged, and by which data."""
    group.addoption(
        "--tolerances",
        metavar="FILE",
        default=str(project().tolerances),
        help="tolerances file (default: the one that [tool.onnx-conformance] names, else the "
        "library's)",
    )
    group.addoption(
        "--known-failures",
        metavar="FILE",
        default=str(project().known_failures or ""),
        help="file of known upstream failures (default: what [tool.onnx-conformance] names)",
    )
    group.addoption(
        "--edge-cases",
        choices=("report", "fail"),
        default="report",
        help="failures on edge cases (empty batch, NaN and infinity, denormals): report them as "
        "edge findings, which do not affect the verdict (default), or fail",
    )
    group.addoption(
        "--expect-dynamic",
        action="store_true",
        help="fail where an external artifact fixes a batch or size that the model leaves open",
    )
    group.addoption(
        "--image",
        metavar="FILE",
        help="a photograph for trained models (repeatable; default: three bundled ones)",
        **SEVERAL,
    )
    group.addoption(
        "--calibration-data",
        metavar="DIR",
        help="calibrate int8 variants on the .npz files (one array for each input) or photographs "
        "in this folder",
    )
    group.addoption(
        "--evaluation-data",
        metavar="DIR",
        help="judge int8 on the .npz files (one array for each input; 'labels': the right classes) "
        "or photographs in this folder; needs exactly one --model",
    )


def _add_explanations(group: Any) -> None:
    """What a failure is followed by."""
    group.addoption(
        "--first-finding",
        action="store_true",
        help="skip the remaining checks of a case after its first failure",
    )
    group.addoption(
        "--localize",
        dest="localize",
        action="store_const",
        const="all",
        default="auto",
        help="find the node that introduces the error in every failed case, and the one that adds "
        "most in every other (default: in the first 3 failed cases)",
    )
    group.addoption(
        "--no-localize", dest="localize", action="store_const", const="off", help="localise nothing"
    )
    group.addoption(
        "--bundles",
        metavar="N",
        type=int,
        default=20,
        help="write repro bundles for the first N failed cases (default: 20)",
    )


def _add_reports(group: Any) -> None:
    """What a run writes."""
    group.addoption("--save-onnx", metavar="DIR", help="keep the artifacts in this folder, by case")
    group.addoption(
        "--report-json",
        metavar="FILE",
        default=str(project().outputs / "results.json"),
        help="results as data (default: .conformance/results.json)",
    )
    group.addoption(
        "--report-html",
        metavar="FILE",
        default=str(project().outputs / "report.html"),
        help="results as a page; empty: none (default: .conformance/report.html)",
    )
    group.addoption(
        "--report-md", metavar="FILE", help="results as Markdown, for a CI job's summary"
    )
    group.addoption(
        "--report-sarif", metavar="FILE", help="failures as SARIF, for GitHub's code scanning"
    )
    group.addoption(
        "--report-codequality",
        metavar="FILE",
        help="failures as a code quality report, for GitLab's merge requests",
    )
    group.addoption(
        "--history",
        metavar="DIR",
        help="add this run to the folder, and draw DIR/index.html: scores and, for gates, speed by "
        "version, with changes marked",
    )
    group.addoption(
        "--gate-json",
        metavar="FILE",
        default=str(project().outputs / "gate.json"),
        help="the gate's verdicts as data (default: .conformance/gate.json)",
    )
    group.addoption(
        "--gate-html",
        metavar="FILE",
        default=str(project().outputs / "gate.html"),
        help="the gate's verdicts as a page (default: .conformance/gate.html)",
    )


def _add_workers(group: Any) -> None:
    """What workers may use."""
    group.addoption(
        "--artifact-limit",
        metavar="NAME=N",
        help="limit what reading an artifact may cost, such as file_mb=500 (repeatable; names and "
        "defaults: onnx_conformance/core/limits.yaml)",
        **SEVERAL,
    )
    group.addoption(
        "--call-limit",
        metavar="SECONDS",
        type=float,
        default=300.0,
        help="kill a worker that does not answer a call within this time (default: 300)",
    )
    group.addoption(
        "--threads", metavar="N", type=int, default=1, help="threads of each worker (default: 1)"
    )
    group.addoption(
        "--in-process",
        action="store_true",
        help="host workers in pytest's own process, for a debugger (one framework at a time)",
    )


def _add_many_cases(group: Any) -> None:
    """What is kept between runs, taken from them, and divided among machines."""
    group.addoption(
        "--cache-dir",
        metavar="DIR",
        default=str(project().outputs / "cache"),
        help="folder for artifacts, weights and oracle results (default: .conformance/cache)",
    )
    group.addoption(
        "--cache-limit",
        metavar="SIZE",
        default="",
        help="at the end of a run, remove what was not used for longest from the cache, down to so "
        "much, such as 20G (default: nothing is removed)",
    )
    group.addoption("--no-cache", action="store_true", help="compute everything anew")
    group.addoption(
        "--resume",
        action="store_true",
        help="take what earlier runs kept of cases that passed, where code, options, versions, "
        "provider and files are as they were, and run the rest",
    )
    group.addoption(
        "--shard",
        metavar="K/N",
        default="",
        help="judge the K-th of N parts of the cases; 'onnx-conformance merge' joins the results",
    )
    group.addoption(
        "--shard-durations",
        metavar="FILE",
        default="",
        help="divide by what the cases took in this results.json, the same for all shards",
    )
