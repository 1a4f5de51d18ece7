"""Contenders, timed side by side: native in its forms, ONNX Runtime by exporter and provider."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onnx_conformance.catalog.frameworks import EAGER, FRAMEWORKS, ON_CUDA
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.case import Case, DerivedCase, ExternalCase
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.tolerances import FLOAT32


@dataclass(frozen=True)
class Contender:
    """One row of a table of timings: a model's native form, or a case in one of its forms.

    Args:
        form: how it is called: of native see the workers' ``timing`` modules, of a session
            ``plain``, ``io_binding`` or ``copies``.
        case: None for native.
        call: which call of a model with memory, :data:`timed_call.PHASES`; empty for plain inputs.
    """

    model: str
    form: str
    case: Case | None = None
    call: str = ""

    @property
    def compared_with(self) -> Contender:
        """Native eager on the same device, on a GPU in the same class of precision."""
        if self.case is None:
            form = ON_CUDA[FLOAT32] if self.form in ON_CUDA.values() else EAGER
        else:
            form = _on_cuda(self.case) if _on_gpu(self.case) else EAGER
        return Contender(self.model, form, call=self.call)

    @property
    def judged_as(self) -> Case | None:
        """The case by whose rules its answer is judged; of native on CUDA one of its precision.

        None for native in float32 on the processor.
        """
        classes = {form: precision for precision, form in ON_CUDA.items()}
        if self.case is None and self.form in classes:
            return Case(self.model, "native", None, "cuda", precision=classes[self.form])
        return self.case

    @property
    def label(self) -> str:
        """Its name within the model, stable across runs."""
        call = f"-{self.call}" if self.call else ""
        if self.case is None:
            return f"native-{self.form}{call}"
        tail = "" if self.form == "plain" else f"-{self.form}"
        return f"{self.case.id.removeprefix(f'{self.model}-')}{tail}{call}"


def native_contenders(
    model: str, framework: str, asked: tuple[str, ...], cases: Iterable[Case] = ()
) -> list[Contender]:
    """Native in its forms: eager, which speed-ups are over, then those that are asked for.

    Args:
        cases: that are timed too. For those on a GPU native is timed there as well, in their
            class of precision, where it can be.

    Raises:
        UsageError: a form that no framework knows.
    """
    known = {form for each in FRAMEWORKS.values() for form in each.forms}
    here = FRAMEWORKS[framework]
    for form in asked:
        if form not in {*known, EAGER}:
            raise UsageError(
                f"--native-form {form}: no such form; known: {', '.join(sorted({*known, EAGER}))}"
            )
    default = tuple(form for form in here.forms if form not in here.forms_on_request)
    chosen = tuple(form for form in here.forms if form in asked) if asked else default
    there = [form for case in cases if _on_gpu(case) for form in (ON_CUDA[FLOAT32], _on_cuda(case))]
    chosen = (*chosen, *(form for form in there if form in here.forms))
    return [Contender(model, form) for form in dict.fromkeys((EAGER, *chosen))]


def runtime_contenders(cases: list[Case]) -> list[Contender]:
    """The cases; on a GPU also with inputs and outputs bound there, and the copies apart."""
    return [
        Contender(case.model, form, case)
        for case in cases
        for form in (("plain", "io_binding", "copies") if _on_gpu(case) else ("plain",))
    ]


def _on_gpu(case: Case) -> bool:
    return PROVIDERS[case.provider].gpu


def _on_cuda(case: Case) -> str:
    """Native's form beside the case; int8 has none of its own."""
    return ON_CUDA.get(case.precision, ON_CUDA[FLOAT32])


def timed_cases(cases: tuple[Case, ...], opsets: tuple[int, ...]) -> list[Case]:
    """The cases whose latency is worth a row.

    Every route at the newest opset of the run, unless opsets were asked for; export options
    change the file's form and not its speed, so the plain export alone, where there is one.
    """
    chosen: dict[tuple[str, str, str, str | None], Case] = {}
    listed: list[Case] = []
    for case in cases:
        if isinstance(case, ExternalCase) or opsets:
            listed.append(case)
            continue
        variant = case.variant if isinstance(case, DerivedCase) else None
        key = (case.model, case.exporter, case.place, variant)
        if key not in chosen or _rank(case) > _rank(chosen[key]):
            chosen[key] = case
    return [*listed, *chosen.values()]


def _rank(case: Case) -> tuple[bool, int]:
    return not case.options.suffix, case.opset or 0
