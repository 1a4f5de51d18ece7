"""Write what the code says itself: docs/options.md, docs/data.md and docs/tolerances.schema.json.

python docs/reference.py
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from onnx_conformance.cli.main import COMMANDS  # noqa: E402
from onnx_conformance.core.tolerances import KEYS, LIMITS, MATCHERS, SCHEMA  # noqa: E402
from onnx_conformance.plugin.options import options  # noqa: E402
from onnx_conformance.run.run_record import Option  # noqa: E402

SCHEMA_OF_RESULTS = HERE.parent / "onnx_conformance" / "report" / "results.schema.json"
JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def _row(option: Option) -> str:
    """An option as a row of a table."""
    value = option.metavar or "|".join(map(str, option.settings.get("choices") or ()))
    shown = f"`{option.name}{f' {value}' if value and option.takes_value else ''}`"
    text = option.help.replace("|", "\\|").replace("%%", "%")
    return f"| {shown.replace('|', '&#124;')} | {text} |"


def options_page() -> str:
    """The page of every option of the suite and of the tools."""
    lines = [
        "# Every option",
        "",
        "Written by `python docs/reference.py` from the parsers; do not edit.",
        "",
        "## Of a run",
        "",
        "For `pytest`, `onnx-conformance run`, `bench` and `gate`, and in `ARGS='…'` of make.",
        "pytest's own options work as ever. Write options that take a path with `=`.",
        "",
        "| option | meaning |",
        "|---|---|",
        *sorted(map(_row, options())),
    ]
    for name, command in COMMANDS.items():
        if command.module != "run":
            lines += ["", f"## `{name}`", "", f"{command.summary}.", "", "```text", _help(name)]
            lines += ["```"]
    return "\n".join(lines) + "\n"


def _help(name: str) -> str:
    """What ``onnx-conformance NAME --help`` prints."""
    module = importlib.import_module(f"onnx_conformance.cli.{COMMANDS[name].module}")
    os.environ["COLUMNS"] = "100"
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        module.main(["--help"])
    return told.getvalue().strip().replace(str(HERE.parent), "PATH/TO/onnx-conformance")


def tolerances_schema() -> dict[str, Any]:
    """The JSON schema of tolerances.yaml, from the limits that the reader checks."""
    figures = {
        key: {"type": "number", "minimum": a, "maximum": b} for key, (a, b) in LIMITS.items()
    }
    override = {
        "type": "object",
        "required": ["match", "set", "reason"],
        "additionalProperties": False,
        "properties": {
            "match": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {key: {"type": "string"} for key in MATCHERS},
            },
            "set": {"type": "object", "additionalProperties": False, "properties": figures},
            "reason": {"type": "string", "minLength": 1},
        },
    }
    return {
        "$schema": JSON_SCHEMA,
        "title": "tolerances.yaml of onnx-conformance",
        "type": "object",
        "required": ["schema", "defaults", "overrides"],
        "additionalProperties": False,
        "properties": {
            "schema": {"const": SCHEMA},
            "defaults": _closed(
                {check: _closed({k: figures[k] for k in keys}) for check, keys in KEYS.items()}
            ),
            "overrides": {"type": "array", "items": override},
        },
    }


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with these keys, all of them and no other."""
    return {
        "type": "object",
        "required": [*properties],
        "additionalProperties": False,
        "properties": properties,
    }


def data() -> str:
    """The page of the data formats."""
    schema = json.loads(SCHEMA_OF_RESULTS.read_text(encoding="utf-8"))
    lines = [
        "# results.json and tolerances.yaml",
        "",
        "Written by `python docs/reference.py` from the schemas; do not edit.",
        "",
        "## results.json",
        "",
        f"{schema['description']} As a JSON schema:",
        "[results.schema.json](../onnx_conformance/report/results.schema.json).",
        "",
        *_keys(schema),
    ]
    for name in ("case", "check"):
        lines += ["", f"### A {name}", "", *_keys(schema["$defs"][name])]
    lines += ["", "## tolerances.yaml", ""]
    lines += [
        "Its figures and reasons: [tolerances.yaml](../tolerances.yaml). As a JSON schema:",
        "[tolerances.schema.json](tolerances.schema.json). An override names its cases by globs,",
        "what it sets, and why; the file is refused where a figure lies outside of these limits.",
        "",
        "| figure | at least | at most |",
        "|---|---|---|",
        *(f"| `{key}` | {least:g} | {most:g} |" for key, (least, most) in sorted(LIMITS.items())),
    ]
    return "\n".join(lines) + "\n"


def _keys(schema: dict[str, Any]) -> list[str]:
    """A table of an object's keys; those that may be absent are marked."""
    rows = ["| key | type | meaning |", "|---|---|---|"]
    for key, told in schema["properties"].items():
        absent = "" if key in schema["required"] else " (may be absent)"
        rows.append(f"| `{key}` | {_type(told)} | {told.get('description', '')}{absent} |")
    return rows


def _type(told: dict[str, Any]) -> str:
    if "enum" in told:
        return ", ".join(f"`{word}`" for word in told["enum"])
    if "$ref" in told:
        return str(told["$ref"].rpartition("/")[2])
    found = told.get("type", f"`{told['const']}`" if "const" in told else "")
    return " or ".join(found) if isinstance(found, list) else str(found)


def pages() -> dict[Path, str]:
    """Every file that is written, with its text."""
    schema = json.dumps(tolerances_schema(), indent=1) + "\n"
    return {
        HERE / "options.md": options_page(),
        HERE / "data.md": data(),
        HERE / "tolerances.schema.json": schema,
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
