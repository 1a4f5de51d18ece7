"""Files of ``--artifact`` that are the ``--against`` file itself, or files that belong together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.settings import Settings
from onnx_conformance.run.external_artifacts import labelled


def without_itself(
    references: tuple[str, ...], cases: tuple[Case, ...], settings: Settings
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The cases that differ from the reference's own run, and notes on what is compared.

    Args:
        references: what --against names, and the files of such a folder as one.

    The reference runs on the CPU without graph optimisation. The same file under the same
    conditions gives the same bits, which proves nothing. Under other conditions the comparison
    shows what ONNX Runtime's optimisation or the provider does to the file.

    Raises:
        UsageError: no other case is left.
    """
    external = [case for case in cases if isinstance(case, ExternalCase)]
    against = Path(references[0])
    known = labelled(references, "--against") if against.is_dir() else {}
    same = {case.path for case in external if _is(known.get(case.label, against), Path(case.path))}
    reference_runs = [
        case for case in external if case.path in same and _is_reference(case, settings)
    ]
    kept = tuple(case for case in cases if case not in reference_runs)
    if reference_runs and not kept:
        raise UsageError(
            f"--artifact {reference_runs[0].path} and --against {against} are the same file or "
            "have the same bytes. With graph optimisation off on the cpu provider both sides are "
            "the same run, which proves nothing; name another file, or compare with --graph-level "
            "all"
        )
    compared = [case for case in external if case.path in same and case in kept]
    notes = [*_own_references(compared, settings)]
    notes += [
        f"{case.id}: not judged, because it is the reference's own run" for case in reference_runs
    ]
    return kept, tuple(dict.fromkeys(notes))


def notes_on_single_files(
    references: tuple[str, ...], cases: tuple[Case, ...], problem: str
) -> tuple[str, ...]:
    """What is not judged of a folder of files that are not called in a row."""
    labels = {case.label for case in cases if isinstance(case, ExternalCase)}
    if len(references) > 1 or len(labels) < 2:
        return ()
    why = problem or (
        "call them encoder_model.onnx, decoder_model.onnx and decoder_with_past_model.onnx where "
        "they are such"
    )
    alone = f"the {len(labels)} files are judged one by one, and what one hands to another is not"
    return (f"{alone}: {why}",)


def _own_references(cases: list[ExternalCase], settings: Settings) -> Iterator[str]:
    """What is judged where files are their own references, in one line a graph level."""
    files: dict[str, dict[str, None]] = {}
    for case in cases:
        level = case.graph_level or settings.graph_level
        files.setdefault(level, {})[Path(case.path).name] = None
    for level, names in files.items():
        first, more = next(iter(names)), len(names) - 1
        them = f"{first} and {more} more files are their own references" if more else ""
        yield (
            f"{them or f'{first} is its own reference'}: this judges what ONNX Runtime does to "
            f"{'them' if more else 'it'} at graph level {level} on each provider"
        )


def _is(against: Path, path: Path) -> bool:
    """Whether two paths name one file, or two files of the same bytes.

    Files with external data may be the same graph with other weights.
    """
    if not path.is_file():
        return False
    whole = b"location" not in against.read_bytes()
    return path.samefile(against) or (whole and file_digest(path) == file_digest(against))


def _is_reference(case: Case, settings: Settings) -> bool:
    return (case.graph_level or settings.graph_level) == "disabled" and case.provider == "cpu"
