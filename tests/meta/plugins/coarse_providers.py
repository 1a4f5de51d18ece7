"""Providers that claim a class of less precision, and compute in float32; loaded with ``-p``."""

from dataclasses import replace

from onnx_conformance.catalog.providers import CPU, PROVIDERS

for precision in ("tf32", "float16", "bfloat16"):
    name = f"cpu_{precision}"
    PROVIDERS.register(name, replace(CPU, name=name, precision=precision))
