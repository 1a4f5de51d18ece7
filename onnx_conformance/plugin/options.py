"""The suite's command-line options, in the groups in which a reader may look for them."""

from __future__ import annotations

from onnx_conformance.catalog.frameworks import exported_frameworks
from onnx_conformance.core.project import project
from onnx_conformance.core.tolerances import OF_FILES
from onnx_conformance.perf.options import gate_options, timing_options
from onnx_conformance.run.run_record import SEVERAL, SWITCH, Option


def options() -> list[Option]:
    """Every option of the suite, with the defaults of this project."""
    return [
        *_cases(),
        *_places(),
        *_judgement(),
        *_explanations(),
        *_reports(),
        *_many_cases(),
        *_workers(),
        *timing_options(),
        *gate_options(),
    ]


def _cases() -> tuple[Option, ...]:
    """What is certified: models, files, and how files are made."""
    return (
        Option("--model", "NAME",
               "certify this model, registered or by a pointer (repeatable)", SEVERAL),
        Option("--models-from", "FILE",
               "a Python file or module with @register_model functions (repeatable)", SEVERAL),
        Option("--artifact", "PATH",
               "certify this ONNX file, or those in this folder, against --model (repeatable); "
               "an encoder and its decoders are judged in a row too", SEVERAL),
        Option("--against", "PATH",
               "compare --artifact with this ONNX file, where there is no native model; of a "
               "folder, each file with its namesake"),
        Option("--precision", "CLASS",
               "the precision in which the files of --artifact compute: float32 (default), "
               "float16 or int8", {"choices": OF_FILES}),
        Option("--exporter", "NAME", "export by this route (repeatable)", SEVERAL),
        Option("--opset", "N", "export at this opset (repeatable)", {"type": int, **SEVERAL}),
        Option("--variant", "NAME",
               "certify this variant of the exported files too: ort_basic, fp16, int8_static, … "
               "(docs/quantisation.md; repeatable)", SEVERAL),
        Option("--framework", None,
               "run the cases of this framework, and skip those of others (repeatable)",
               {"choices": tuple(one.name for one in exported_frameworks()), **SEVERAL}),
        Option("--weights", None,
               "random weights that keep outputs alive (calibrated, the default), or the "
               "frameworks' pretrained weights",
               {"choices": ("calibrated", "pretrained"), "default": "calibrated"}),
        Option("--seed", "N",
               "seed of weights and inputs (default: 0)", {"type": int, "default": 0}),
    )  # fmt: skip


def _places() -> tuple[Option, ...]:
    """Where files run."""
    return (
        Option("--provider", "NAME", "run on this execution provider (repeatable)", SEVERAL),
        Option("--provider-library", "NAME=PATH",
               "run on the provider of this plugin library or installed plugin package too, "
               "under this name; loading it runs its code (repeatable)", SEVERAL),
        Option("--answers", "[LABEL=]DIR",
               "judge what run.py of a kit wrote on another machine (docs/other-machines.md; "
               "repeatable)", SEVERAL),
        Option("--custom-op-library", "PATH",
               "a library of operators for ONNX Runtime to load, which runs its code "
               "(repeatable)", SEVERAL),
        Option("--require", "NAME",
               "fail unless a case passed on this provider (gpu: on any GPU provider; "
               "repeatable)", SEVERAL),
        Option("--min-placement", "SHARE",
               "fail where the provider runs less than this share of the nodes, 0 to 1; the "
               "others fall back to the CPU (default: one node suffices; for a gate 0.95, from "
               "its rules)", {"type": float}),
        Option("--no-cpu-fallback", None,
               "fail where a session would leave a node to the CPU provider", SWITCH),
    )  # fmt: skip


def _judgement() -> tuple[Option, ...]:
    """How they are judged, and by which data."""
    return (
        Option("--tolerances", "FILE",
               "tolerances file (default: the one that [tool.onnx-conformance] names, else the "
               "library's)", {"default": str(project().tolerances)}),
        Option("--known-failures", "FILE",
               "file of known upstream failures (default: what [tool.onnx-conformance] names)",
               {"default": str(project().known_failures or "")}),
        Option("--edge-cases", None,
               "failures on edge cases (empty batch, NaN and infinity, denormals): report them "
               "as edge findings, which do not affect the verdict (default), or fail",
               {"choices": ("report", "fail"), "default": "report"}),
        Option("--expect-dynamic", None,
               "fail where an external artifact fixes a batch or size that the model leaves "
               "open", SWITCH),
        Option("--image", "FILE",
               "a photograph for trained models (repeatable; default: three bundled ones)",
               SEVERAL),
        Option("--calibration-data", "DIR",
               "calibrate int8 variants on the .npz files (one array for each input) or "
               "photographs in this folder"),
        Option("--evaluation-data", "DIR",
               "judge int8 on the .npz files (one array for each input; 'labels': the right "
               "classes) or photographs in this folder; needs exactly one --model"),
    )  # fmt: skip


def _explanations() -> tuple[Option, ...]:
    """What a failure is followed by."""
    return (
        Option("--first-finding", None,
               "skip the remaining checks of a case after its first failure", SWITCH),
        Option("--localize", None,
               "find the node that introduces the error in every failed case, and the one that "
               "adds most in every other (default: in the first 3 failed cases)",
               {"dest": "localize", "action": "store_const", "const": "all", "default": "auto"}),
        Option("--no-localize", None,
               "localise nothing", {"dest": "localize", "action": "store_const", "const": "off"}),
        Option("--bundles", "N",
               "write repro bundles for the first N failed cases (default: 20)",
               {"type": int, "default": 20}),
    )  # fmt: skip


def _reports() -> tuple[Option, ...]:
    """What a run writes."""
    return (
        Option("--save-onnx", "DIR", "keep the artifacts in this folder, by case"),
        Option("--report-json", "FILE",
               "results as data (default: .conformance/results.json)",
               {"default": str(project().outputs / "results.json")}),
        Option("--report-html", "FILE",
               "results as a page; empty: none (default: .conformance/report.html)",
               {"default": str(project().outputs / "report.html")}),
        Option("--report-md", "FILE", "results as Markdown, for a CI job's summary"),
        Option("--report-sarif", "FILE", "failures as SARIF, for GitHub's code scanning"),
        Option("--report-codequality", "FILE",
               "failures as a code quality report, for GitLab's merge requests"),
        Option("--history", "DIR",
               "add this run to the folder, and draw DIR/index.html: scores and, for gates, "
               "speed by version, with changes marked"),
    )  # fmt: skip


def _workers() -> tuple[Option, ...]:
    """What workers may use."""
    return (
        Option("--artifact-limit", "NAME=N",
               "limit what reading an artifact may cost, such as file_mb=500 (repeatable; names "
               "and defaults: onnx_conformance/core/limits.yaml)", SEVERAL),
        Option("--call-limit", "SECONDS",
               "kill a worker that does not answer a call within this time (default: 300)",
               {"type": float, "default": 300.0}),
        Option("--threads", "N",
               "threads of each worker (default: 1)", {"type": int, "default": 1}),
        Option("--in-process", None,
               "host workers in pytest's own process, for a debugger (one framework at a time)",
               SWITCH),
    )  # fmt: skip


def _many_cases() -> tuple[Option, ...]:
    """What is kept between runs, taken from them, and divided among machines."""
    return (
        Option("--cache-dir", "DIR",
               "folder for artifacts, weights and oracle results (default: .conformance/cache)",
               {"default": str(project().outputs / "cache")}),
        Option("--cache-limit", "SIZE",
               "at the end of a run, remove what was not used for longest from the cache, down "
               "to so much, such as 20G (default: nothing is removed)", {"default": ""}),
        Option("--no-cache", None, "compute everything anew", SWITCH),
        Option("--resume", None,
               "take what earlier runs kept of cases that passed, where code, options, "
               "versions, provider and files are as they were, and run the rest", SWITCH),
        Option("--shard", "K/N",
               "judge the K-th of N parts of the cases; 'onnx-conformance merge' joins the "
               "results", {"default": ""}),
        Option("--shard-durations", "FILE",
               "divide by what the cases took in this results.json, the same for all shards",
               {"default": ""}),
    )  # fmt: skip
