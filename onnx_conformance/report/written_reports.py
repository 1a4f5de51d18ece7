"""The files that a results document becomes, each at the option that asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.core.files import write_json, write_whole
from onnx_conformance.report import code_hosts, history
from onnx_conformance.report.pages import write_page
from onnx_conformance.report.saved_artifacts import save_artifacts

PAGE = "onnx_conformance.report.html"


def write_reports(document: ResultsDocument, places: Mapping[str, Path | None]) -> str:
    """Write every report that is asked for, files whole or not at all.

    Args:
        places: file or folder by option: ``--report-json``, ``--report-html``, ``--report-md``,
            ``--report-sarif``, ``--report-codequality``, ``--history``, ``--save-onnx``; None
            where it is not asked for.

    Returns:
        Where the page is, or why there is none.

    Raises:
        UsageError: a place cannot be written.
    """
    shown = "no page"
    for option, place in places.items():
        if place is None:
            continue
        match option:
            case "--report-json":
                write_json(place, document, option)
            case "--report-html":
                shown = write_page(PAGE, place, option, document)
            case "--report-md":
                text = import_module("onnx_conformance.report.markdown").render(document)
                write_whole(place, text.encode(), option)
            case "--report-sarif":
                code_hosts.write_sarif(document, place)
            case "--report-codequality":
                code_hosts.write_code_quality(document, place)
            case "--history":
                history.keep(document, place)
            case "--save-onnx":
                save_artifacts(document, place)
    return shown
