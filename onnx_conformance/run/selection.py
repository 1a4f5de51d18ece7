"""The cases of a run: models × exporters × opsets × providers, as asked for or by default."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_conformance.catalog.exporters import (
    EXPORTERS,
    EXTERNAL,
    FURTHER_CASES,
    Exporter,
    refuse_unserved,
)
from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.catalog.models import MODELS, registered_models, resolve_model
from onnx_conformance.catalog.providers import DEFAULT_PROVIDERS, PROVIDERS, coarser
from onnx_conformance.catalog.variants import VARIANTS
from onnx_conformance.core.case import Case, ExportOptions, ExternalCase
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.text import printable
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.run.external_artifacts import SUFFIX, asked_opset, labelled


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
        return [*external_cases(selection)]
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


# -- external artifacts ----------------------------------------------------------------------------


def external_cases(selection: Selection) -> list[ExternalCase]:
    """One case for each file and provider; files are parsed later, and fail then.

    The opset that is asked of a file is ``--opset``, or else what a manifest beside it or its own
    name says.

    Raises:
        UsageError: not one model, several opsets or exporters, no file, or one without namesake.
    """
    found, of_label = _judged(selection)
    exporters, opsets = selection.exporters, selection.opsets
    for axis, chosen in (("exporter", exporters), ("opset", opsets)):
        if len(chosen) > 1:
            raise UsageError(f"--artifact takes at most one --{axis}: the one of the export")
    exporter = EXPORTERS[exporters[0]].name if exporters else EXTERNAL.name
    names = [PROVIDERS[name].name for name in selection.providers or DEFAULT_PROVIDERS]
    asked = selection.precision or FLOAT32
    for label, path in found.items():
        _refuse_source_of(of_label[label], path)
    return [
        ExternalCase(
            of_label[label].name,
            exporter,
            opsets[0] if opsets else asked_opset(path, label),
            provider,
            precision=coarser(asked, PROVIDERS[provider].precision),
            file_precision=asked,
            path=printable(str(path)),  # one that cannot be shown is a red case of no file
            label=label,
        )
        for label, path in found.items()
        for provider in dict.fromkeys(names)
    ]


def _judged(selection: Selection) -> tuple[dict[str, Path], dict[str, ModelSpec]]:
    """The files, and the model that each is judged by: the one, or its namesake.

    Of a reference folder, the chosen models are the files that can be references, and what is to be
    judged by another one is left out.
    """
    artifacts, models, against = selection.artifacts, selection.models, selection.against
    found = labelled(artifacts) if models else {}
    if against and Path(against).is_dir():
        references = labelled((against, *selection.chains), "--against")
        known = {label: f"{label}{SUFFIX}" for label in references}
        _refuse_alone(found, known, artifacts, against)
        judged = {label: path for label, path in found.items() if known[label] in models}
        return judged, {label: resolve_model(known[label]) for label in judged}
    if len(models) == 1:
        return found, dict.fromkeys(found, resolve_model(models[0]))
    named = {label: one for label in found for one in models if f"/{one}".endswith(f"/{label}")}
    if len(named) < len(found) or not models:
        raise UsageError(
            "--artifact needs the one model that the files were made from: --model=NAME, "
            "--models-from=FILE.py or, to compare two files, --against=FILE.onnx"
            + (f"; known models: {', '.join(every)}" if (every := models or [*MODELS]) else "")
            + ("; or name one model after each file" if len(models) > 1 else "")
        )
    return found, {label: resolve_model(name) for label, name in named.items()}


def _refuse_alone(
    found: dict[str, Path], known: dict[str, str], artifacts: tuple[str, ...], against: str
) -> None:
    """Refuse a file without a namesake, on either side."""
    files = ", ".join(f"{label}{SUFFIX}" for label in known)
    for label, path in found.items():
        if label not in known:
            raise UsageError(
                f"--artifact: {printable(str(path))} has no namesake in --against {against}, which "
                f"holds {files}; call files that belong together alike, or name the files to judge "
                "one by one"
            )
    missing = [label for label in known if label not in found]
    if missing and any(Path(one).is_dir() for one in artifacts):
        raise UsageError(
            f"--artifact {' '.join(artifacts)} lacks {missing[0]}{SUFFIX}, which --against "
            f"{against} holds; export it too, or name the files to judge one by one"
        )


def _refuse_source_of(model: ModelSpec, path: Path) -> None:
    """Refuse a model that reads the judged file, which would be compared with itself.

    Raises:
        UsageError: the builder of the model, or its calls, open the file.
    """
    known = {digest: read for read, digest in model.reads}
    if not known or model.framework == "onnx":
        return
    with contextlib.suppress(OSError):
        digest = file_digest(path)
        if digest in known:
            raise UsageError(
                f"--artifact {printable(str(path))}: model '{model.name}' itself reads this "
                f"file ({known[digest]}), so it would be compared with itself; give the model "
                "that the file was exported from, or compare two files: --against=OTHER.onnx"
            )
