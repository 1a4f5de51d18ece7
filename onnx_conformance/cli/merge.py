"""``onnx-conformance merge A.json B.json …``: the results of all shards as one.

Exit status: that of the whole run (README, "Exit status"); 1 where a shard is lost, given twice, or
of other code or options; 2 where a file is no result of ``--shard``.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich.console import Console

from onnx_conformance.cli.console import Arguments, say
from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.project import project
from onnx_conformance.core.text import count_of
from onnx_conformance.report import history, terminal
from onnx_conformance.report.document import SCHEMA
from onnx_conformance.report.merged_document import merged
from onnx_conformance.report.written_reports import write_reports

STYLES = {"passed": "bold green", "incomplete": "bold yellow"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Join the files and write the whole; its exit status."""
    parser = Arguments(prog="onnx-conformance merge", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="the --report-json of each shard")
    outputs = project().outputs
    parser.add_argument("--report-json", metavar="FILE", default=str(outputs / "results.json"))
    parser.add_argument("--report-html", metavar="FILE", default=str(outputs / "report.html"))
    parser.add_argument("--report-md", metavar="FILE")
    parser.add_argument("--history", metavar="DIR", help="keep the whole run there, and compare")
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parser.parse_args(words)
    shards: dict[str, ResultsDocument] = {}
    for name in chosen.files:  # one that is named twice is a shard that is given twice
        shards[f"{name} again" if name in shards else name] = read_shard_results(Path(name))
    if chosen.history:
        history.refuse_unusable(Path(chosen.history))
    document = merged(shards, f"onnx-conformance merge {shlex.join(words)}")
    places = {
        "--report-json": chosen.report_json,
        "--report-html": chosen.report_html,
        "--report-md": chosen.report_md,
        "--history": chosen.history,
    }
    page = write_reports(document, {name: Path(place) for name, place in places.items() if place})
    if chosen.report_html:
        say(Console(), page)
    _tell(document, chosen.report_json)
    return int(document["run"]["exit_status"])


def read_shard_results(path: Path) -> ResultsDocument:
    """The results of a shard.

    Raises:
        UsageError: it is not there, or no result of this schema and of ``--shard``.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema, sharded = document["schema"], "shard" in document["run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: no results.json of a run ({error})") from error
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema}, not {SCHEMA}: another version wrote it")
    if not sharded:
        raise UsageError(f"{path} is of a whole run; what is joined was run with --shard=K/N")
    return cast("ResultsDocument", document)


def _tell(document: ResultsDocument, data: str) -> None:
    console, numbers = Console(), document["totals"]
    if numbers["judged"]:
        console.file.write(
            terminal.render(terminal.matrix(document), width=max(100, console.width), color=False)
        )
    say(console, f"{count_of(numbers['judged'], 'case')} judged; {numbers['compared']:,} compared")
    verdict = document["run"]["verdict"]
    sentence = f"{verdict.upper()}: {document['run']['sentence']}"
    say(console, sentence, STYLES.get(verdict, "bold red"))
    say(console, f"data: {data}")
