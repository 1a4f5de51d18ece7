"""What a run's verdicts rest on beside their cases: options, code, packages and the machine."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.extras import installed
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.run.cache_keys import source_digest

# Settings that shape no verdict which is kept: where things are, and how long they may take.
IDLE = ("cache_dir", "limit", "ahead", "in_process", "native_in_process")
OPTIONS_THAT_NAME_FILES = (
    "calibration_data",
    "evaluation_data",
    "custom_op_libraries",
)  # by contents, below
DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/sys/module/amdgpu/version"))
# Variables that the libraries which compute, or those that load them, read.
READ = (
    "CUDA", "DNNL", "KERAS", "KMP", "LD_", "MIGRAPHX", "MKL", "NVIDIA", "OMP", "ONEDNN", "OPENBLAS",
    "OPENVINO", "ORT_", "PYTHONPATH", "PYTORCH", "QNN", "ROCM", "TF_", "TORCH", "XLA", "XNNPACK",
)  # fmt: skip


def run_basis(config: pytest.Config, run: PerfRun, folders: Iterable[Path]) -> dict[str, Any]:
    """The same on every machine that does the same: by what messages call it, parts of a key.

    Args:
        folders: those of the selected tests.
    """
    own, settings = project(), asdict(run.settings)
    kept = {
        key: value
        for key, value in settings.items()
        if key not in (*IDLE, *OPTIONS_THAT_NAME_FILES)
    }
    data = [
        settings[name] and _contents(Path(settings[name]), "**/*")
        for name in OPTIONS_THAT_NAME_FILES[:2]
    ]
    libraries = [file_digest(Path(name)) for name in run.settings.custom_op_libraries]
    profile = config.getoption("hypothesis_profile", None)
    explained = [run.localize, run.bundles > 0]
    return {
        "options": [
            kept,
            profile,
            explained,
            list(run.frameworks),
            list(map(file_digest, run.images)),
        ],
        "data": [*data, *libraries],
        "models": [(m.name, m.fingerprint, sorted(d for _, d in m.reads)) for m in _models(run)],
        "tolerances": run.tolerances.path.read_text(),
        "known failures": [asdict(entry) for entry in run.known_failures],
        "recipes that found a fault": own.found_recipes and own.found_recipes.read_text(),
        "models and records": source_digest(*own.register),
        "tests": [_contents(folder, "*.py") for folder in sorted(folders)],
        "pytest's plugins": sorted(_plugins(config)),
        "packages": sorted({each.name for each in installed()}),
    }


def machine_basis() -> dict[str, Any]:
    """What may differ between machines that do the same, or change on one."""
    return {
        "python": [sys.version, list(sys.flags)],
        "runtime": list(_libraries()),
        "drivers": [path.read_text() for path in DRIVERS if path.is_file()],
        "variables": {name: v for name, v in sorted(os.environ.items()) if name.startswith(READ)},
    }


def _models(run: PerfRun) -> list[ModelSpec]:
    return [resolve_model(name) for name in dict.fromkeys(case.model for case in run.cases)]


def chosen_tests(config: pytest.Config) -> tuple[list[str], set[Path]]:
    """What the command line says of which tests are run, and their folders.

    Paths are relative to pytest's root, which may lie elsewhere on another machine.
    """
    filters = [getattr(config.option, name, None) for name in ("keyword", "markexpr", "deselect")]
    places = [os.path.relpath(name, config.rootpath) for name in map(str, config.args)]
    paths = [config.rootpath / place.partition("::")[0] for place in places]
    folders = {path if path.is_dir() else path.parent for path in paths}
    return [*places, *(str(word or "") for word in filters)], folders


def _plugins(config: pytest.Config) -> Iterator[tuple[str, str]]:
    """The source of each plugin of pytest that no installed package brings: of conftest.py too."""
    installed = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
    for _, plugin in config.pluginmanager.list_name_plugin():
        path = Path(getattr(plugin, "__file__", None) or "")
        if path.is_file() and not any(map(path.is_relative_to, installed)):
            yield path.name, file_digest(path)


def _contents(folder: Path, pattern: str) -> list[tuple[str, str]]:
    """The files of a folder with their digests."""
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    return [(str(path.relative_to(folder)), file_digest(path)) for path in files]


def _libraries() -> Iterator[tuple[str, int, int]]:
    """ONNX Runtime's own files with size and time: a build of one version may be another's."""
    spec = find_spec("onnxruntime")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(place, "capi").glob("*")):
            if path.is_file():
                yield path.name, path.stat().st_size, path.stat().st_mtime_ns
