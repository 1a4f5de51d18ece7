"""``onnx-conformance COMMAND``: which module does what; each is imported when it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from onnx_conformance.core.files import PROGRAM

BAD_INPUT = 2


@dataclass(frozen=True)
class Command:
    """A command of the console script.

    Args:
        module: of this package; its ``main(arguments)`` returns the exit status.
        summary: what it does, for the list of commands.
    """

    module: str
    summary: str


COMMANDS = {
    "run": Command("run", "certify models: run my_models.py; run --against a.onnx b.onnx"),
    "bench": Command("run", "time native beside ONNX Runtime: bench my_models.py"),
    "gate": Command("run", "is today's conversion worse than a kept one? gate --gate=BASELINE"),
    "merge": Command(
        "merge", "join the results of all shards: merge A.json B.json (run --shard=K/N)"
    ),
    "convert": Command("convert", "export a model, check the file, keep it if it passes"),
    "inspect": Command("inspect", "what is in an ONNX file, and which provider runs its nodes"),
    "compare": Command("compare", "a photograph through the native model and ONNX Runtime"),
    "variants": Command("variants", "optimised, half precision, int8: which passes, how fast?"),
    "versions": Command("versions", "verdicts and speed on other versions of ONNX Runtime"),
    "kit": Command("kit", "what another machine needs to be judged here: kit my_models.py"),
    "providers": Command("providers", "which execution providers work here"),
    "doctor": Command("doctor", "what works here, what is missing, what clashes"),
    "new-model": Command("new_model", "write a file with a model to start from"),
    "environments": Command("environments", "build environments with another ONNX Runtime"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status, or 2 where there is none of that name."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else BAD_INPUT
    name, *rest = words
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"{PROGRAM}: unknown command '{name}'; commands: {known}", file=sys.stderr)
        return BAD_INPUT
    module = importlib.import_module(f"onnx_conformance.cli.{COMMANDS[name].module}")
    if COMMANDS[name].module == "run":
        ran: int = module.main([name, *rest])
        return ran
    from onnx_conformance.cli.console import guarded

    return guarded(name, lambda: module.main(rest))


def _usage() -> str:
    lines = [f"usage: {PROGRAM} COMMAND [OPTIONS]", ""]
    lines += [f"  {name:<13} {command.summary}" for name, command in COMMANDS.items()]
    lines += ["", f"{PROGRAM} COMMAND --help lists its options; run, bench and gate take pytest's."]
    return "\n".join(lines)
