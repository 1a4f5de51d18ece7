"""One of each thing that can be added, in as many places as CONTRIBUTING.md says."""

from dataclasses import replace

import numpy as np

from onnx_conformance.catalog.devices import DEVICES, Device
from onnx_conformance.catalog.exporters import EXPORTERS, Exporter
from onnx_conformance.catalog.frameworks import Framework, register_framework
from onnx_conformance.catalog.models import register_model
from onnx_conformance.catalog.providers import PROVIDERS, Provider
from onnx_conformance.checks.controls import AlteredSubject, register_control
from onnx_conformance.checks.registry import register_check
from onnx_conformance.core.case import Case
from onnx_conformance.core.results import failed, passed
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.report.columns import COLUMNS, Column

# -- a framework: one record, and the module that it names ----------------------------------------

register_framework(
    Framework(
        name="toy",
        title="Toy",
        module="numpy",
        packages=("numpy",),
        backend="tests.meta.toy_framework:ToyBackend",
        routes=("toy_export",),
    )
)

# -- an exporter: one record, and its function in the framework's module --------------------------

EXPORTERS.register(
    "toy_export",
    Exporter(
        name="toy_export",
        framework="toy",
        function="tests.meta.toy_framework:export",
        opsets=range(13, 22),
        conservative=13,
        newest=21,
        packages=("onnx",),
    ),
)


# -- a model: one function ------------------------------------------------------------------------


@register_model(
    "toy_net",
    framework="toy",
    inputs=(TensorSpec("input", ("batch_size", 6)),),
    outputs=(TensorSpec("output", ("batch_size", 3)),),
    trained=True,
)
def toy_net():
    """Two dense layers."""
    rng = np.random.default_rng(0)
    sizes = {"0.weight": (6, 8), "0.bias": (8,), "1.weight": (8, 3), "1.bias": (3,)}
    return {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}


# -- a provider on a new device: two records ------------------------------------------------------

DEVICES.register("toy_chip", Device("toy_chip", paths=("/",), silent=True))
PROVIDERS.register("toy", Provider("toy", "CPUExecutionProvider", device="toy_chip"))
DEVICES.register(
    "lost_chip", Device("lost_chip", "no lost chip is here", paths=("/no/such/*",), silent=True)
)
PROVIDERS.register("lost", Provider("lost", "CPUExecutionProvider", device="lost_chip"))


# -- a check: one function that names its control; its thin test is toy_suite.py ----------


@register_control(toy_producer="the file says that 'nobody' made it")
def toy_of_nobody(subject, folder):
    """The file names another producer."""
    facts = {**subject.artifact.facts, "producer": "nobody"}
    return AlteredSubject(subject, artifact=replace(subject.artifact, facts=facts))


@register_check(control="toy_of_nobody", case=Case("toy_net", "toy_export", 13, "cpu"))
def check_toy_producer(subject):
    """The file says that the toy made it."""
    found = subject.artifact.facts["producer"]
    if found != "toy":
        return failed(f"the file says that '{found}' made it")
    return passed("the toy made it", compared=1)


# -- a column of the report: one entry ------------------------------------------------------------

COLUMNS.append(Column("toy size", lambda case: f"{sum(case['nodes'].values())} toy nodes"))
