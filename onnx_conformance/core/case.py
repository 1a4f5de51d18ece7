"""Cases: the rows of the matrix, as frozen records, and what a case may vary in an export."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, NotRequired, TypedDict, cast


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export that a case may vary. The defaults are what people ship.

    Args:
        export_params: keep the weights in the file.
        constant_folding: let the exporter fold constants (BatchNorm into convolutions).
        dynamic_batch: leave the batch axis symbolic.
        external_data: keep the weights in a file beside the graph.
        functional: wrap a Keras model as a functional ``keras.Model`` before the export.
    """

    export_params: bool = True
    constant_folding: bool = True
    dynamic_batch: bool = True
    external_data: bool = False
    functional: bool = False

    @property
    def suffix(self) -> str:
        """What is not default, as it stands in a case's id: ``+static_batch``."""
        marks = {
            "no_params": not self.export_params,
            "no_folding": not self.constant_folding,
            "static_batch": not self.dynamic_batch,
            "external_data": self.external_data,
            "functional": self.functional,
        }
        return "".join(f"+{mark}" for mark, present in marks.items() if present)


class CaseRow(TypedDict):
    """A case as plain data: of a variant also ``variant``, of an external file ``path``."""

    model: str
    exporter: str
    opset: int | None
    provider: str
    options: dict[str, bool]
    precision: str
    file_precision: str
    graph_level: str
    variant: NotRequired[str]
    path: NotRequired[str]
    label: NotRequired[str]


@dataclass(frozen=True)
class Case:
    """One row of the matrix: a model, the route it was exported by, and where it runs.

    There are three kinds: an exported file is a ``Case`` itself, what a variant makes of one is a
    :class:`DerivedCase`, and a file that exists already an :class:`ExternalCase`.

    Args:
        opset: the one that was asked for; None where none was.
        precision: the class that it computes in, which chooses its checks and its budget.
        file_precision: that of its file alone, whatever the provider computes in.
        graph_level: ONNX Runtime's graph optimization level, where a run has several; empty for
            the run's own.
    """

    model: str
    exporter: str
    opset: int | None
    provider: str
    options: ExportOptions = field(default_factory=ExportOptions)
    precision: str = "float32"
    file_precision: str = "float32"
    graph_level: str = ""

    @property
    def artifact_id(self) -> str:
        """Readable name of the artifact, which cases on several providers share."""
        return f"{self.model}-{self.route}-opset{self.opset}"

    @property
    def route(self) -> str:
        """How the file was made, in a word: the exporter with changed options."""
        return f"{self.exporter}{self.options.suffix}"

    @cached_property
    def id(self) -> str:
        """Readable name of the case: ``resnet50-torch_dynamo-opset18-cpu``."""
        return f"{self.artifact_id}-{self.place}"

    @property
    def place(self) -> str:
        """Where it runs: the provider, with the graph level where the run has several."""
        return f"{self.provider}@{self.graph_level}" if self.graph_level else self.provider

    @property
    def narrow_weights(self) -> str:
        """The dtype that its file may round native's weights to; empty where it may to none."""
        return self.file_precision if self.file_precision == "float16" else ""

    def derived(self, variant: str) -> DerivedCase:
        """The case of what ``variant`` makes of the file, in the same precision."""
        return DerivedCase(**self._common(), variant=variant)

    def external(self, path: str, label: str) -> ExternalCase:
        """The case of a file that exists already, judged in this one's place."""
        return ExternalCase(**self._common(), path=path, label=label)

    def _common(self) -> dict[str, Any]:
        """The fields that cases of every kind have."""
        return {each.name: getattr(self, each.name) for each in fields(Case)}

    def as_row(self) -> CaseRow:
        """As plain data, for reports that cross processes."""
        return cast("CaseRow", asdict(self))

    @staticmethod
    def from_row(row: CaseRow) -> Case:
        """The inverse of :meth:`as_row`; what only one kind has tells which it is."""
        kind = DerivedCase if "variant" in row else ExternalCase if "path" in row else Case
        known: dict[str, Any] = {**row, "options": ExportOptions(**row["options"])}
        return kind(**known)


@dataclass(frozen=True, kw_only=True)
class DerivedCase(Case):
    """A variant: an exported file after a further conversion.

    Args:
        variant: the name of its record in :mod:`onnx_conformance.catalog.variants`.
    """

    variant: str

    @property
    def route(self) -> str:
        """The exporter with changed options and the variant."""
        return f"{super().route}~{self.variant}"

    @property
    def exported(self) -> Case:
        """The case of the file that it is made of."""
        return Case(**self._common())


@dataclass(frozen=True, kw_only=True)
class ExternalCase(Case):
    """A file that exists already, made by any exporter.

    Args:
        path: where it is.
        label: what ids and reports call it.
    """

    path: str
    label: str

    @property
    def artifact_id(self) -> str:
        """The label, and the model's name where the label has it not."""
        return self.label if self.model in self.label else f"{self.model}-{self.label}"

    @property
    def route(self) -> str:
        """The label: who made the file is not known."""
        return self.label
