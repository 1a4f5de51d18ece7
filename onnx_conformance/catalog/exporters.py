"""The export routes: one record each, with the opsets and names that a route can deliver.

The function that a record names runs in the native worker's process as
``function(native_model, example, request, opset, options, path)``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.registry import Registry


@dataclass(frozen=True)
class Exporter:
    """One route from a native model to ONNX.

    Args:
        function: ``module:function`` that writes the file.
        opsets: the opsets that the route accepts.
        conservative, newest: the two opsets of the default cases.
        packages: distributions whose versions affect the file, beside the framework's.
        sets_input_names, sets_output_names, sets_batch_axis: whether the route lets the caller
            name inputs, outputs (``input``, ``output``) and the batch axis (``batch_size``).
        options: the names of :class:`ExportOptions` fields that the route can vary.
    """

    name: str
    framework: str
    function: str
    opsets: range
    conservative: int
    newest: int
    packages: tuple[str, ...]
    sets_input_names: bool = True
    sets_output_names: bool = True
    sets_batch_axis: bool = True
    options: frozenset[str] = frozenset()


EXPORTERS: Registry[Exporter] = Registry("exporter")


@dataclass(frozen=True)
class FurtherCase:
    """A default case of one model, beyond a route's two opsets and its plain options.

    Args:
        opset: None for the route's two.
        reason: why the case is in the default run.
    """

    model: str
    exporter: str
    reason: str
    opset: int | None = None
    options: ExportOptions = ExportOptions()


FURTHER_CASES: Registry[FurtherCase] = Registry("further case")


def register_further_case(case: FurtherCase) -> None:
    """Add a default case of a model that the calling project registers."""
    FURTHER_CASES.register(f"{case.model} {case.exporter} {case.opset} {case.options}", case)


_TORCH_OPTIONS = frozenset({"export_params", "constant_folding", "dynamic_batch", "external_data"})
_KERAS_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "tf2onnx", "onnx", "protobuf")


def _register(exporter: Exporter) -> None:
    EXPORTERS.register(exporter.name, exporter)


def _register_keras(name: str, **promises: Any) -> None:
    """All four of Keras' routes end in tf2onnx, so they share its opsets."""
    _register(
        Exporter(
            name=name,
            framework="keras",
            function=f"onnx_conformance.workers.keras.export:{name}",
            opsets=range(9, 19),
            conservative=14,
            newest=18,
            packages=_KERAS_PACKAGES,
            sets_batch_axis=False,
            **promises,
        )
    )


_register(
    Exporter(
        name="torch_torchscript",
        framework="torch",
        function="onnx_conformance.workers.torch.export:torchscript",
        opsets=range(9, 24),
        conservative=14,
        newest=23,
        packages=("torch", "torchvision", "onnx"),
        options=_TORCH_OPTIONS,
    )
)
_register(
    Exporter(
        name="torch_dynamo",
        framework="torch",
        function="onnx_conformance.workers.torch.export:dynamo",
        opsets=range(9, 26),
        conservative=18,
        newest=25,
        packages=("torch", "torchvision", "onnx", "onnxscript", "onnx-ir"),
        options=_TORCH_OPTIONS,
    )
)
_register_keras(
    "tf2onnx_keras",
    sets_output_names=False,
    options=frozenset({"dynamic_batch", "functional"}),
)
_register_keras("tf2onnx_function", options=frozenset({"dynamic_batch"}))
_register_keras("tf2onnx_saved_model", options=frozenset({"dynamic_batch"}))
_register_keras("keras_export", sets_output_names=False, options=frozenset({"dynamic_batch"}))

UNNAMED_PACKAGES = (
    "numpy",
    "protobuf",
    "torchvision",
    "onnx-ir",
)  # packages that headers need not name


def judged_packages() -> tuple[str, ...]:
    """The distributions whose versions headers and pages name: of frameworks and exporters."""
    packages = [package for one in FRAMEWORKS.values() for package in one.packages]
    packages += [package for one in EXPORTERS.values() for package in one.packages]
    return tuple(package for package in dict.fromkeys(packages) if package not in UNNAMED_PACKAGES)


# Nobody needs to know which exporter wrote an external artifact. Which names its inputs and outputs
# may have: onnx_conformance/run/external_artifacts.py.
EXTERNAL = Exporter(
    name="given",
    framework="torch",
    function="",
    opsets=range(0),
    conservative=0,
    newest=0,
    packages=(),
    sets_input_names=False,
    sets_output_names=False,
    sets_batch_axis=False,
)


def exporter_of(case: Case) -> Exporter:
    """The record of the case's route, or of an external artifact."""
    return EXTERNAL if case.exporter == EXTERNAL.name else EXPORTERS[case.exporter]


def refuse_unserved(case: Case) -> None:
    """Raise UsageError if the case needs an option or opset that its route does not support."""
    exporter = exporter_of(case)
    if case.opset not in exporter.opsets:
        raise UsageError(
            f"exporter {exporter.name} supports opsets {exporter.opsets.start} to "
            f"{exporter.opsets.stop - 1}, not {case.opset}"
        )
    plain = ExportOptions()
    for option in fields(ExportOptions):
        varied = getattr(case.options, option.name) != getattr(plain, option.name)
        if varied and option.name not in exporter.options:
            raise UsageError(
                f"exporter {exporter.name} does not support the option '{option.name}'"
            )
