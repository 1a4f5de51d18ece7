"""The route by which a tool exports a model when nobody names one."""

from __future__ import annotations

from onnx_conformance.catalog.exporters import EXPORTERS, Exporter, refuse_unserved
from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.session.selection import varied

OPSET = 18  # what the dynamo exporter writes itself, and the newest that tf2onnx does


def case_of(
    model: ModelSpec,
    exporter: str = "",
    opset: int | None = None,
    *,
    provider: str = "cpu",
    options: ExportOptions | None = None,
    variant: str = "",
) -> Case:
    """The case of a model by a route, with defaults for what is left out.

    Below the opset that the preferred route writes natively, another route is chosen, because the
    preferred one would convert down, which may silently deliver another opset.

    Raises:
        UsageError: an unknown exporter, one of another framework, an opset that it does not
            support, an unknown variant, or a variant with options that are not default.
    """
    route = EXPORTERS[exporter] if exporter else _preferred(model, opset)
    if route.framework != model.framework:
        own = [each.name for each in EXPORTERS.values() if each.framework == model.framework]
        raise UsageError(
            f"exporter {route.name} exports {route.framework} models, but {model.name} is a "
            f"{model.framework} model; its routes: {', '.join(own) or 'none'}"
        )
    if opset is None:
        opset = OPSET if route.conservative <= OPSET <= route.newest else route.newest
    case = Case(model.name, route.name, opset, provider, options or ExportOptions())
    refuse_unserved(case)
    return varied(case, variant) if variant else case


def _preferred(model: ModelSpec, opset: int | None) -> Exporter:
    routes = [EXPORTERS[name] for name in FRAMEWORKS[model.framework].routes]
    if not routes:
        raise UsageError(f"{model.name} is a {model.framework} model, which no route exports")
    wanted = OPSET if opset is None else opset
    return next((route for route in routes if route.conservative <= wanted), routes[-1])
