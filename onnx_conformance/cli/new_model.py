"""``onnx-conformance new-model my_net``: a commented file to start from."""

from __future__ import annotations

import argparse
import keyword
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from onnx_conformance.core.files import PROGRAM, program

TEMPLATE = Path(__file__).with_name("new_model.py.template")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file. Exit status 2: bad input, in one line."""
    parser = argparse.ArgumentParser(prog="new-model", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("out", nargs="?", help="where to write it (default: NAME.py)")
    asked = parser.parse_args(arguments)
    path = Path(asked.out or f"{asked.name}.py").absolute()
    problem = _problem(asked.name, path)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    text = TEMPLATE.read_text(encoding="utf-8")
    for key, value in (("NAME", asked.name), ("PATH", path.name), ("PROGRAM", PROGRAM)):
        text = text.replace(f"{{{{ {key} }}}}", value)
    path.write_text(text, encoding="utf-8")
    print(f"{path} has a model that works: replace it by yours, then")
    print(f"  {shlex.join([*program(), 'run', str(path)])}")
    return 0


def _problem(name: str, path: Path) -> str | None:
    if not name.isidentifier() or keyword.iskeyword(name):
        return f"NAME={name}: must be a Python name, such as my_net"
    if path.suffix != ".py":
        return f"OUT={path}: must end in .py"
    if path.exists():
        return f"{path} exists already; give another OUT"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}; make it first"
    return None
