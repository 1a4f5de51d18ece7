"""As on a machine where only torch's half is installed."""

from dataclasses import replace

from onnx_conformance.catalog.frameworks import FRAMEWORKS

FRAMEWORKS.put("keras", replace(FRAMEWORKS["keras"], module="a_framework_that_is_not_installed"))
