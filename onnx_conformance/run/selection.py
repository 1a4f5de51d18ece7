"""The cases of a run: models × exporters × opsets × providers, as asked for or by default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from onnx_conformance.catalog.exporters import EXPORTERS, FURTHER_CASES, Exporter, refuse_unserved
from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.catalog.models import MODELS, registered_models, resolve_model
from onnx_conformance.catalog.providers import DEFAULT_PROVIDERS, PROVIDERS, coarser
from onnx_conformance.catalog.variants import VARIANTS
from onnx_conformance.core.case import Case, ExportOptions, ExternalCase
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.run.external_artifacts import external_cases


@dataclass(frozen=True)
class Selection:
    """Names from the command line; an empty tuple means the default of that axis."""

    models: tuple[str, ...] = ()
    exporters: tuple[str, ...] = ()
    opsets: tuple[int, ...] = ()
    providers: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    precision: str = ""  # of external artifacts
    graph_levels: tuple[str, ...] = ()
    against: str = ""  # the reference file or folder of external artifacts
    chains: tuple[str, ...] = ()  # files in which those of a reference folder are called in a row

    @property
    def full(self) -> bool:
        """Whether nothing was narrowed."""
        return not any((self.models, self.exporters, self.opsets, self.providers, self.artifacts))

    def admits(self, case: Case) -> bool:
        """Whether no axis was narrowed to names that leave ``case`` out.

        Where external artifacts are named, nothing else is judged.
        """
        if self.artifacts:
            return isinstance(case, ExternalCase)
        axes = (
            (self.models, case.model),
            (self.exporters, case.exporter),
            (self.opsets, case.opset),
            (self.providers, case.provider),
        )
        return all(not chosen or name in chosen for chosen, name in axes)

    def placed(self, case: Case) -> Case:
        """A case that a test brings itself; a plain one at the first of several graph levels.

        There it is a case of the run, and no row of its own with one check.
        """
        if case.graph_level or case.options.suffix or not self.graph_levels:
            return case
        return replace(case, graph_level=self.graph_levels[0])


def _in_precision_of_model(case: Case) -> Case:
    """The case in its model's class of precision, where that is less exact than its own."""
    model = resolve_model(case.model)
    return replace(
        case,
        precision=coarser(case.precision, model.precision),
        file_precision=coarser(case.file_precision, model.computes),
        by_model=case.precision == FLOAT32 != model.precision,
    )


def select_cases(selection: Selection) -> list[Case]:
    """The cases of a run, model by model, each at every graph level where several are asked for.

    Raises:
        UsageError: an unknown name, or an opset that no chosen route serves.
    """
    cases = [_in_precision_of_model(case) for case in _cases(selection)]
    levels = selection.graph_levels
    return [replace(case, graph_level=level) for case in cases for level in levels or ("",)]


def _cases(selection: Selection) -> list[Case]:
    variants = [VARIANTS[name].name for name in _once(selection.variants)]
    if selection.artifacts:
        if variants:
            raise UsageError("--variant is for exports; a file of --artifact is judged as it is")
        return [
            *external_cases(
                selection.artifacts,
                selection.models,
                selection.exporters,
                selection.opsets,
                selection.providers,
                selection.precision,
                selection.against,
                selection.chains,
            )
        ]
    if selection.precision:
        raise UsageError("--precision is for files that exist already; give --artifact too")
    # none where a project registers no model: a run of one says so, a tool may need none
    names = selection.models or [m.name for m in registered_models() if not m.on_request]
    models = [resolve_model(name) for name in _once(names)]
    exporters = [EXPORTERS[name] for name in _once(selection.exporters or EXPORTERS)]
    exports = list(_exports(selection, models, exporters))
    _refuse_unexported(models, exporters, exports)
    cases = [form for case in exports for form in (case, *_varied(case, variants))]
    for case in cases:
        refuse_unserved(case)
    return cases


def _exports(
    selection: Selection, models: list[ModelSpec], exporters: list[Exporter]
) -> Iterator[Case]:
    """Each model by each of its framework's routes, at its opsets and options, on each provider."""
    providers = [PROVIDERS[name] for name in _once(selection.providers or DEFAULT_PROVIDERS)]
    frameworks = {model.framework for model in models}
    routes = [exporter for exporter in exporters if exporter.framework in frameworks]
    if routes:
        _refuse_unserved_opsets(selection.opsets, routes)
    for model in models:
        for exporter in routes:
            if exporter.framework == model.framework:
                for opset, options in _forms(model, exporter, selection.opsets):
                    for provider in providers:
                        yield Case(
                            model.name,
                            exporter.name,
                            opset,
                            provider.name,
                            options,
                            precision=provider.precision,
                        )


def _refuse_unexported(
    models: list[ModelSpec], exporters: list[Exporter], exports: list[Case]
) -> None:
    callables = [model.name for model in models if not FRAMEWORKS[model.framework].routes]
    if callables:
        raise UsageError(
            f"{callables[0]} is a plain callable, which no route exports; give the ONNX file to "
            "compare with it: --artifact=FILE"
        )
    if models and not exports:
        routes = ", ".join(exporter.name for exporter in exporters)
        raise UsageError(
            f"no case is left: {routes} cannot export {', '.join(m.name for m in models)} (torch "
            "models need a route of torch, Keras models one of Keras)"
        )


def _varied(case: Case, variants: list[str]) -> Iterator[Case]:
    """The variants of a plain export; exports with other options have none."""
    if case.options == ExportOptions():
        yield from (varied(case, name) for name in variants)


def varied(case: Case, variant: str) -> Case:
    """The case of what ``variant`` makes of a plain export.

    Raises:
        UsageError: an unknown variant, or one of an export with options that are not default.
    """
    made = VARIANTS[variant]
    if case.options != ExportOptions():
        raise UsageError(f"variant {made.name} is made of a plain export, without other options")
    both = coarser(case.precision, made.precision)
    return replace(case.derived(made.name), precision=both, file_precision=made.precision)


def _once(names: Iterable[str]) -> list[str]:
    """The names without repetition, in their order."""
    return list(dict.fromkeys(names))


def possible_cases() -> Iterator[Case]:
    """Every plain case of a registered model: all opsets that its routes support, all providers."""
    for model in MODELS.values():
        for exporter in EXPORTERS.values():
            if exporter.framework == model.framework:
                for opset in exporter.opsets:
                    for provider in PROVIDERS.values():
                        precision = provider.precision
                        yield Case(
                            model.name, exporter.name, opset, provider.name, precision=precision
                        )


def _forms(
    model: ModelSpec, exporter: Exporter, opsets: tuple[int, ...]
) -> Iterator[tuple[int, ExportOptions]]:
    """The opsets and option sets in which ``exporter`` exports ``model``."""
    default = [exporter.conservative, exporter.newest]
    further = [
        case
        for case in FURTHER_CASES.values()
        if (case.model, case.exporter) == (model.name, exporter.name)
    ]
    default += [case.opset for case in further if case.opset is not None]
    chosen = [opset for opset in opsets if opset in exporter.opsets] if opsets else default
    options_of = [case.options for case in further if case.opset is None]
    for options in (ExportOptions(), *options_of):
        for opset in dict.fromkeys(chosen):
            yield opset, options


def _refuse_unserved_opsets(opsets: tuple[int, ...], exporters: list[Exporter]) -> None:
    for opset in opsets:
        if not any(opset in exporter.opsets for exporter in exporters):
            served = ", ".join(
                f"{exporter.name} {exporter.opsets.start}-{exporter.opsets.stop - 1}"
                for exporter in exporters
            )
            raise UsageError(f"no chosen exporter supports opset {opset}; supported: {served}")
