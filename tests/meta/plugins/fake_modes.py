"""A provider that needs no device: one whose precision a variable overrides."""

from onnx_conformance.catalog.providers import PROVIDERS, Provider

PROVIDERS.register(
    "fakemode", Provider("fakemode", "CPUExecutionProvider", banned=(("FAKE_OVERRIDE", "1"),))
)
