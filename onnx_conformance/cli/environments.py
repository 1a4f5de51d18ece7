"""``onnx-conformance environments``: builds environments with another ONNX Runtime.

Each contains what a runtime worker needs and no framework, because exports and native results are
made once, here. The command prints the ``--engine`` options with which pytest runs in all of them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from onnx_conformance.cli.console import Arguments
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.project import project

NAME = "environments"
WORKER = ("numpy", "execnet", "psutil")  # of this environment's own versions
INSTALLED_MARK = ".installed"
PLAIN_VERSION = re.compile(r"[0-9.]+")  # neither a development version nor a candidate
NEWEST = 5  # versions in a message


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is asked for, and print the options that use it."""
    parser = Arguments(prog=NAME, description=__doc__)
    parser.add_argument(
        "wanted",
        nargs="+",
        metavar="LABEL=REQUIREMENT",
        help="such as openvino=onnxruntime-openvino==1.24.1; a version alone is onnxruntime's",
    )
    parser.add_argument(
        "--folder", type=Path, default=folder(), help="default: .conformance/environments"
    )
    chosen = parser.parse_args(arguments)
    print(shlex.join(option(each, chosen.folder) for each in chosen.wanted))
    return 0


def folder() -> Path:
    """Where environments are built, unless told otherwise."""
    return project().outputs / "environments"


def option(wanted: str, place: Path) -> str:
    """The ``--engine`` option of an environment, which is built if it is not there.

    Raises:
        CapabilityMissing: pip cannot install it.
    """
    label, requirement = named(wanted)
    home = place / label
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    mark, lines = home / INSTALLED_MARK, "\n".join(requirements(requirement))
    if not mark.is_file() or mark.read_text(encoding="utf-8") != lines:
        print(f"{NAME}: building {home} with {requirement}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        install(python, requirements(requirement))
        mark.write_text(lines, encoding="utf-8")
    return f"--engine={label}=popen//python={python}"


def named(wanted: str) -> tuple[str, str]:
    """The label and the requirement that a word names.

    >>> named("1.24.4"), named("openvino=onnxruntime-openvino==1.24.1")
    (('ort-1.24.4', 'onnxruntime==1.24.4'), ('openvino', 'onnxruntime-openvino==1.24.1'))
    """
    label, equals, requirement = wanted.partition("=")
    if equals and requirement and not requirement.startswith("="):
        return label, requirement
    return f"ort-{wanted}", f"onnxruntime=={wanted}"


def requirements(requirement: str) -> list[str]:
    """What to install: the runtime, and the worker's own packages as they are here."""
    return [requirement, *(f"{name}=={version(name)}" for name in WORKER)]


def install(python: Path, packages: list[str]) -> None:
    """Install with pip.

    Raises:
        CapabilityMissing: pip fails; the message says why.
    """
    quiet = ("--quiet", "--disable-pip-version-check")
    command = [str(python), "-m", "pip", "install", *quiet, *packages]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise CapabilityMissing(refusal(packages, ran.stderr))


def refusal(packages: Sequence[str], error_text: str) -> str:
    """Why pip cannot install: the versions that there are, or else its last line.

    >>> refusal(["onnxruntime==9", "numpy==2"], "ERROR: … (from versions: 1.2, 1.3, 1.4.dev1)")
    'pip finds no onnxruntime==9 for this Python; the newest that it finds: 1.2, 1.3'
    """
    found = re.search(r"\(from versions: (.*)\)", error_text)
    listed = found[1].split(", ") if found else []
    released = [one for one in listed if PLAIN_VERSION.fullmatch(one)]
    if released:
        newest = ", ".join(released[-NEWEST:])
        return f"pip finds no {packages[0]} for this Python; the newest that it finds: {newest}"
    last_line = (error_text.strip().splitlines() or ["no words"])[-1]
    return f"pip cannot install {' '.join(packages)}: {last_line}"
