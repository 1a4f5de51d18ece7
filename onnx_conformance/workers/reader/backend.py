"""The reader of external artifacts, in a process that a malicious file may crash or fill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from onnx_conformance.core.errors import Refused
from onnx_conformance.core.file_roles import BRANCH, CALLS_OF_MERGED, MERGED, NEXT, chains
from onnx_conformance.core.onnx_file import facts_of
from onnx_conformance.core.settings import Limits
from onnx_conformance.core.store import file_digest
from onnx_conformance.core.worker_messages import ReadFile
from onnx_conformance.workers.reader.declared_sizes import refuse_sizes
from onnx_conformance.workers.reader.external_data import refuse_data
from onnx_conformance.workers.reader.file_format import COPY_AGAIN, refuse_file, what_it_is
from onnx_conformance.workers.reader.graph import refuse_graph
from onnx_conformance.workers.server import limited_memory

TOO_DEEP = "MaxDepth"  # upb's word for messages in messages


class ReaderBackend:
    """Reads one file a call."""

    def __init__(self, threads: int) -> None:
        self._threads = threads  # none of its work has several

    def read(self, path: str, limits: dict[str, float], libraries: bool) -> ReadFile:
        """The facts of a file (as :func:`core.onnx_file.inspect`) and the digests of its files.

        The judge reads the same bytes again in its own process, and so do the checks: this call
        shows that parser and checker survive them.

        Raises:
            Refused: the file is not to be judged.
            MemoryError: it takes more memory than allowed.
        """
        allowed, file = Limits(**limits), Path(path)
        try:
            refuse_file(file, allowed)
            with limited_memory(allowed.memory((file,))):
                model = _parsed(file)
                refuse_graph(model, allowed, libraries=libraries)
                refuse_sizes(model, allowed)
                refuse_data(file, model, allowed)
                facts = facts_of(file, model)
                del model
                _check(file)
        except OSError as error:
            raise Refused(f"cannot be read ({error.strerror or error}); fix its place") from error
        files = [file.parent / name for name in facts["files"]]
        return {"facts": facts, "sha256": [file_digest(each) for each in files]}

    def compose(
        self, files: dict[str, list[str]], folder: str, limits: dict[str, float]
    ) -> dict[str, Any]:
        """Write files that belong together as one graph into ``folder``; see :mod:`.composition`.

        And a merged decoder as what it is at its first call, and at later ones.

        Args:
            files: label and path by role.

        Returns:
            The names of the inputs of the files, and of those that were made of a merged decoder,
            both by label; and why the files do not fit together, in one sentence, or nothing.

        Raises:
            Refused: one is not to be judged.
        """
        from onnx_conformance.workers.reader.composition import compose, one_call

        inputs, made, problem = {}, {}, ""
        for label, path in files.values():
            try:
                facts = self.read(path, limits, libraries=True)["facts"]
            except Refused as refused:
                raise Refused(f"{label} {refused}") from refused
            inputs[label] = [one["name"] for one in facts["inputs"]]
        paths = {role: (label, Path(path)) for role, (label, path) in files.items()}
        rows = chains({role: label for role, (label, _) in files.items()})
        with limited_memory(Limits(**limits).memory(tuple(path for _, path in paths.values()))):
            try:
                for name, parts in rows.items():
                    compose({part: paths[part] for part in parts}, Path(folder, f"{name}.onnx"))
            except Refused as refused:
                problem = str(refused)
            if MERGED in paths and BRANCH in inputs[paths[MERGED][0]]:
                label = Path(paths[MERGED][0]).name
                for calls, role in CALLS_OF_MERGED.items():
                    target = Path(folder, f"{label}_{calls}.onnx")
                    made[target.stem] = one_call(*paths[MERGED], target, later=role == NEXT)
        return {"inputs": inputs, "made": made, "problem": problem}


def _parsed(path: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        if TOO_DEEP in str(error):
            raise Refused(
                "is not a readable ONNX model: its graphs are nested deeper than protobuf "
                "allows; write it flatter"
            ) from error
        raise Refused(f"is not an ONNX model: {what_it_is(path)}; {COPY_AGAIN}") from error
    if not model.HasField("graph") or not model.graph.output:
        cause = "its graph names none" if model.HasField("graph") else what_it_is(path)
        raise Refused(f"is not an ONNX model with outputs: {cause}; {COPY_AGAIN}")
    return model


def _check(path: Path) -> None:
    """Run the checker, because it may crash the process; its findings are left to the checks."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever it says, the check 'checker' hears again
        pass
