"""Content keys of results, made from everything that affects them, without importing a framework.

The package's code counts as a whole: which of its files shape a result is not decided by hand, so a
change to any of them makes every earlier result void.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from onnx_conformance.catalog.devices import drivers
from onnx_conformance.catalog.exporters import UNNAMED_PACKAGES, Exporter, judged_packages
from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.catalog.variants import Variant
from onnx_conformance.core.case import Case
from onnx_conformance.core.compute_modes import REPLICAS
from onnx_conformance.core.custom_operators import library_digest
from onnx_conformance.core.documents import Environment
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import ModelSpec, Preprocessing
from onnx_conformance.core.store import key_of
from onnx_conformance.core.worker_messages import pack


@lru_cache
def version(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The installed ones among ``packages``."""
    found = {package: version(package) for package in packages}
    return {package: number for package, number in found.items() if number is not None}


@lru_cache
def processor() -> str:
    """The processor's model: kernels, and so roundings, depend on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = [line for line in lines if line.startswith("flags")]
    tail = hashlib.sha256("".join(flags[:1]).encode()).hexdigest()[:8]
    return f"{names[0] if names else platform.processor()} {platform.machine()} {tail}"


def model_key(model: ModelSpec, settings: Settings) -> str:
    """Content key of a model's weights, wherever the files lie that its builder reads."""
    return key_of(
        model=pack(replace(model, task="", notes=(), basis="", reads=())),
        reads=[digest for _, digest in model.reads],
        weights=settings.weights,
        seed=settings.seed,
        code=source_digest() if model.fingerprint else source_digest(_module(model.builder)),
        versions=versions((*FRAMEWORKS[model.framework].packages, *model.packages)),
        processor=processor(),
    )


def _module(pointer: str) -> str:
    """The module of ``module:function``."""
    return pointer.rpartition(":")[0]


def artifact_key(case: Case, exporter: Exporter, model: str, weights: str) -> str:
    """Content key of an artifact: ``model`` is its model_key, ``weights`` their digest."""
    return key_of(
        model=model,
        weights=weights,
        exporter=exporter.name,
        code=source_digest(_module(exporter.function)),
        opset=case.opset,
        options=asdict(case.options),
        versions=versions(exporter.packages),
    )


def variant_key(
    variant: Variant,
    source: tuple[str, ...],
    libraries: Sequence[str] = (),
    calibration: Sequence[str] = (),
) -> str:
    """Content key of a variant.

    Args:
        source: digests of the file that it is made of.
        libraries: custom-operator libraries, whose kernels an optimiser may fold constants with.
        calibration: digests of the inputs that it is calibrated on.
    """
    return key_of(
        source=source,
        libraries=[(name, library_digest(name)) for name in libraries],
        calibration=list(calibration),
        variant=asdict(variant),
        code=source_digest(_module(variant.function)),
        versions=versions(variant.packages),
        processor=processor(),  # optimisers may write for the one that they run on
    )


def outputs_key(
    model: str,
    weights: str,
    inputs: str,
    modes: tuple[str, ...],
    threads: int,
    approximation: dict[str, float],
) -> str:
    """Content key of native's answers to inputs: ``model`` is its model_key."""
    return key_of(
        model=model,
        weights=weights,
        inputs=inputs,
        modes=modes,
        threads=threads,
        approximation=approximation if set(REPLICAS) & set(modes) else None,
    )


def photograph_key(photograph: str, preprocessing: Preprocessing) -> str:
    """Content key of torchvision's sample of a photograph, a file's digest."""
    return key_of(
        photograph=photograph,
        preprocessing=asdict(preprocessing),
        code=source_digest(),
        versions=versions(("torch", "torchvision", "pillow")),
    )


def environment() -> Environment:
    """Versions, processor and platform, for headers and reports."""
    packages = (*judged_packages(), *UNNAMED_PACKAGES, "hypothesis", "pytest")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "devices": drivers(),
        "versions": versions(packages),
    }


# -- digests of code -------------------------------------------------------------------------------

SUFFIXES = (".py", ".yaml", ".j2")


def package_folder() -> Path:
    """The folder of the top-level package that this module belongs to, symbolic links resolved."""
    package = sys.modules[__name__.partition(".")[0]]
    assert package.__file__ is not None  # it has an __init__.py
    return Path(package.__file__).resolve().parent


@lru_cache
def source_digest(*modules: str) -> str:
    """SHA-256 over the package's code and data, and over the code of modules outside of it.

    Files are read once in a process, so the digest is of what was there when it was first asked
    for. A module outside of the package counts with the ``.py`` files beside it, which it may
    import; none of them is imported.

    Args:
        modules: dotted names of modules whose code shapes the result; those of the package may be
            among them and add nothing.

    Raises:
        UsageError: a module has no source file, so changes to it would go unnoticed.
    """
    package = __name__.partition(".")[0]
    homes = sorted({_home(name) for name in modules if name.partition(".")[0] != package})
    return _digest(
        [folder_digest(package_folder()), *(_files_digest(h, h.glob("*.py")) for h in homes)]
    )


@lru_cache
def folder_digest(folder: Path) -> str:
    """SHA-256 over the relative paths and contents of a folder's code and data, at any depth.

    Raises:
        UsageError: there is none, as where the package was installed without its source.
    """
    files = list(_code_in(folder))
    if not files:
        raise UsageError(
            f"{folder} has no source file ({', '.join(SUFFIXES)}), so results cannot be cached by "
            "a digest of the code; install the package with its source, unpacked"
        )
    return _files_digest(folder, files)


def _code_in(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names if name.endswith(SUFFIXES))


def _files_digest(folder: Path, files: Iterable[Path]) -> str:
    """Over names and contents, each of a known length: no two lists of files read the same."""
    return _digest(
        text
        for path in sorted(files)
        for text in (
            path.relative_to(folder).as_posix(),
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
    )


def _digest(texts: Iterable[str]) -> str:
    state = hashlib.sha256()
    for text in texts:
        state.update(hashlib.sha256(text.encode()).digest())
    return state.hexdigest()


def _home(module: str) -> Path:
    """The folder of the module's source file, symbolic links resolved."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.has_location or spec.origin is None:
        raise UsageError(f"module '{module}' has no source file; name a module that has one")
    return Path(spec.origin).resolve().parent
