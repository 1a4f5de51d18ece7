"""Draw docs/images/terminal.svg: a right and a wrong export, as a terminal shows them.

    python docs/images/terminal.py

Both runs are real and take about a minute; the wrong export negates one weight. Lines are wrapped
at 100 columns, those that tell the same as the page are left out.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich import _export_format as export_format
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 100
GREEN = ["-m", "onnx_conformance", "run", "--framework=torch", "--model=simple_net"]
RED = ["-m", "pytest", "-p", "tests.meta.plugins.bad_exporters", "tests/test_function.py"]
RED += ["--model=simple_net", "--exporter=lying", "-k", "large_normal", "--provider=cpu"]
LEFT_OUT = re.compile(
    r"^\s*(?:placement:|shape |to replay|- \{recipe|inputs:|check:|page:|next:|time:|\[.*\+)"
)
PLAIN = re.compile(r"\x1b\[[0-9;]*m")


def ran(arguments: list[str]) -> list[str]:
    """The lines of a run, in colour, without this machine's folders."""
    with tempfile.TemporaryDirectory() as folder:
        reports = [f"--report-json={folder}/results.json", f"--report-html={folder}/report.html"]
        finished = subprocess.run(
            [sys.executable, *arguments, *reports, "--color=yes"],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"},
            capture_output=True,
            text=True,
            check=False,
        )
        text = finished.stdout.replace(folder, ".conformance")
    if "conformance" not in text:
        raise SystemExit(text + finished.stderr)
    return text.replace(f"{ROOT}/", "").splitlines()


def part(lines: list[str], first: str, last: str) -> list[str]:
    """From the line that starts with ``first`` to the one that starts with ``last``."""
    plain = [PLAIN.sub("", line) for line in lines]
    start = next(place for place, line in enumerate(plain) if line.startswith(first))
    places = (place for place, line in enumerate(plain) if line.startswith(last) and place >= start)
    end = next(places)
    return [
        line
        for line, bare in zip(lines[start : end + 1], plain[start : end + 1], strict=True)
        if not LEFT_OUT.match(bare)
    ]


def draw() -> str:
    """The picture as SVG."""
    green, red = ran(GREEN), ran(RED)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    prompt = '$ make conformance FRAMEWORKS=torch ARGS="--model simple_net"'
    shown = [prompt, *part(green, "[", "PASSED"), "", "$ # one weight of the file is negated"]
    shown += [*part(red, "simple_net-lying", "  bundle"), *part(red, "RED", "RED")]
    for line in shown:
        text = Text.from_ansi(line)
        if line.startswith("$"):
            text.stylize("bold")
        console.print(text, highlight=False)
    layout = re.sub(r"@font-face \{\{.*?\}\}", "", export_format.CONSOLE_SVG_FORMAT, flags=re.S)
    return console.export_svg(title="onnx-conformance", code_format=layout, unique_id="terminal")


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw(), encoding="utf-8")
