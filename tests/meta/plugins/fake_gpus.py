"""Two GPU providers that need no GPU: one that works (the CPU provider in disguise), one absent."""

from onnx_conformance.catalog.providers import PROVIDERS, Provider

PROVIDERS.register("fakegpu", Provider("fakegpu", "CPUExecutionProvider", gpu=True))
PROVIDERS.register("absentgpu", Provider("absentgpu", "AbsentExecutionProvider", gpu=True))
