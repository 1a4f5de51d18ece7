"""The suite's command-line options."""

from __future__ import annotations

from typing import Any

from onnx_conformance.catalog.frameworks import exported_frameworks
from onnx_conformance.core.project import project
from onnx_conformance.core.tolerances import OF_FILES
from onnx_conformance.perf.gate.gate_options import add_gate_options
from onnx_conformance.perf.latency.options import add_timing_options


def add_options(group: Any) -> None:
    """Add every option of the suite to pytest's option group."""
    several = {"action": "append", "default": []}
    group.addoption(
        "--model",
        metavar="NAME",
        help="certify this model, registered or by a pointer (repeatable)",
        **several,
    )
    group.addoption(
        "--models-from",
        metavar="FILE",
        help="a Python file or module with @register_model functions (repeatable)",
        **several,
    )
    group.addoption("--exporter", metavar="NAME", help="by this route (repeatable)", **several)
    group.addoption("--opset", metavar="N", type=int, help="at this opset (repeatable)", **several)
    group.addoption(
        "--framework",
        choices=tuple(framework.name for framework in exported_frameworks()),
        help="skip the other framework's cases",
        **several,
    )
    group.addoption(
        "--provider", metavar="NAME", help="on this execution provider (repeatable)", **several
    )
    group.addoption(
        "--provider-library",
        metavar="NAME=PATH",
        help="call the provider of this plugin library, or of this installed plugin package, NAME, "
        "and run on it too; loading it runs its code (repeatable)",
        **several,
    )
    group.addoption(
        "--answers",
        metavar="[LABEL=]DIR",
        help="judge what run.py of a kit wrote on another machine (docs/other-machines.md; "
        "repeatable)",
        **several,
    )
    group.addoption(
        "--min-placement",
        metavar="SHARE",
        type=float,
        help="fail where the provider runs less than this share of the nodes, 0 to 1; what is left "
        "falls back to the CPU (default: one node suffices; of a gate 0.95, from its rules)",
    )
    group.addoption(
        "--expect-dynamic",
        action="store_true",
        help="fail where a given file fixes a batch or size that the model leaves open",
    )
    group.addoption(
        "--artifact",
        metavar="PATH",
        help="certify this ONNX file, or those in this folder, against --model (repeatable)",
        **several,
    )
    group.addoption(
        "--against",
        metavar="FILE",
        help="compare --artifact with this ONNX file, where there is no native model",
    )
    group.addoption(
        "--artifact-limit",
        metavar="NAME=N",
        help="what an artifact may ask of this machine, such as file_mb=500 (repeatable; "
        "onnx_conformance/core/limits.yaml)",
        **several,
    )
    group.addoption(
        "--custom-op-library",
        metavar="PATH",
        help="a library of operators for ONNX Runtime to load, which runs its code (repeatable)",
        **several,
    )
    group.addoption(
        "--variant",
        metavar="NAME",
        help="certify what is made of the exported files too: ort_basic, fp16, int8_static, … "
        "(docs/quantisation.md; repeatable)",
        **several,
    )
    group.addoption(
        "--no-cpu-fallback",
        action="store_true",
        help="sessions may leave no node to the CPU provider: what would fall back is red",
    )
    group.addoption(
        "--precision",
        metavar="CLASS",
        choices=OF_FILES,
        help="what the files of --artifact compute in: float32 (default), float16 or int8",
    )
    group.addoption(
        "--calibration-data",
        metavar="DIR",
        help="calibrate int8 variants on the .npz files (an array an input) or photographs there",
    )
    group.addoption(
        "--evaluation-data",
        metavar="DIR",
        help="judge int8 on the .npz files (an array an input; 'labels': the right classes) or "
        "photographs there; needs one --model",
    )
    group.addoption(
        "--edge-cases",
        choices=("report", "fail"),
        default="report",
        help="failures on edge cases (no samples, NaN and infinity, denormals): report them as "
        "edge findings, which decide nothing (default), or fail",
    )
    group.addoption(
        "--first-finding",
        action="store_true",
        help="a case that is red skips its remaining checks",
    )
    group.addoption(
        "--require",
        metavar="NAME",
        help="fail unless this provider (or 'gpu': any GPU provider) passed (repeatable)",
        **several,
    )
    group.addoption(
        "--weights",
        choices=("calibrated", "pretrained"),
        default="calibrated",
        help="seeded and calibrated (default), or the frameworks' pretrained weights",
    )
    group.addoption(
        "--seed", metavar="N", type=int, default=0, help="of weights and inputs (default: 0)"
    )
    group.addoption(
        "--image",
        metavar="FILE",
        help="a photograph for trained models (repeatable; default: three bundled ones)",
        **several,
    )
    group.addoption(
        "--tolerances",
        metavar="FILE",
        default=str(project().tolerances),
        help="tolerances file (default: what [tool.onnx-conformance] names, else the library's)",
    )
    group.addoption(
        "--known-failures",
        metavar="FILE",
        default=str(project().known_failures or ""),
        help="known upstream failures (default: what [tool.onnx-conformance] names)",
    )
    group.addoption(
        "--cache-dir",
        metavar="DIR",
        default=str(project().outputs / "cache"),
        help="artifacts, weights and oracle results (default: .conformance/cache)",
    )
    group.addoption("--no-cache", action="store_true", help="compute everything anew")
    group.addoption(
        "--localize",
        dest="localize",
        action="store_const",
        const="all",
        default="auto",
        help="say of every case which node introduces the error, of a right one which adds most "
        "(default: of the first 3 red cases)",
    )
    group.addoption(
        "--no-localize", dest="localize", action="store_const", const="off", help="localise nothing"
    )
    group.addoption(
        "--bundles",
        metavar="N",
        type=int,
        default=20,
        help="write repro bundles for the first N red cases (default: 20)",
    )
    group.addoption("--save-onnx", metavar="DIR", help="keep the artifacts here, by case")
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
        help="results as a page (default: .conformance/report.html)",
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
        help="keep this run there too, and draw DIR/index.html: scores and, of gates, speed by "
        "version, with what changed marked",
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
    group.addoption(
        "--call-limit",
        metavar="SECONDS",
        type=float,
        default=300.0,
        help="a worker that gives no answer for so long is killed (default: 300)",
    )
    add_timing_options(group)
    add_gate_options(group)
    group.addoption(
        "--threads", metavar="N", type=int, default=1, help="of each worker (default: 1)"
    )
    group.addoption(
        "--in-process",
        action="store_true",
        help="host workers in pytest's own process, for a debugger (one framework at a time)",
    )
