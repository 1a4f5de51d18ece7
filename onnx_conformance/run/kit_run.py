"""Run a kit of onnx-conformance on this machine: NumPy and ONNX Runtime are all that it needs.

    python run.py --provider cpu --out answers

Opens each session of kit.json on the provider, runs each of its inputs in order, and appends what
ONNX Runtime gives to ``answers.txt`` and ``outputs.bin``. The kit holds no right answer. Stopped,
it goes on where it was. docs/other-machines.md has the formats. (Made by ``onnx-conformance kit``)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
NVIDIA = ["nvidia-smi", "--query-gpu=name,driver_version,vbios_version", "--format=csv,noheader"]
EXCEPTION = 1  # Python's exit status after one; its words are printed, and no retry helps
Record = dict[str, Any]


class Answers:
    """Lines ``CHAIN JSON``, each chained to those before.

    CHAIN, in hexadecimal, is the SHA-256 of the chain of the line before (of the kit's digest at
    first), the JSON, and the bytes of the outputs that the JSON tells of.
    """

    def __init__(self, folder: Path, kit: str) -> None:
        self._lines, self._outputs = folder / "answers.txt", folder / "outputs.bin"
        whole = self._lines.read_bytes().rpartition(b"\n")[0] if self._lines.exists() else b""
        kept = [line.partition(" ") for line in whole.decode().splitlines()]
        sizes = [o["bytes"] for _, _, text in kept for o in json.loads(text).get("outputs", ())]
        self.done, self._chain = len(kept), kept[-1][0] if kept else kit
        for path, size in (self._lines, len(whole) + bool(whole)), (self._outputs, sum(sizes)):
            path.touch()
            os.truncate(path, size)  # what was not written whole is answered again

    def add(self, record: Record, arrays: list[Any]) -> None:
        """Write the arrays and their line."""
        data, text = b"".join(array.tobytes() for array in arrays), json.dumps(record)
        self._chain = hashlib.sha256(self._chain.encode() + text.encode() + data).hexdigest()
        with self._outputs.open("ab") as outputs, self._lines.open("a", encoding="utf-8") as lines:
            outputs.write(data)
            lines.write(f"{self._chain} {text}\n")
        self.done += 1


def answer(kit: Record, chosen: argparse.Namespace, folder: Path) -> None:
    """Answer what is not answered yet; what ended the process before is told and passed over."""
    answers, number = Answers(folder, digest_of(HERE / "kit.json")), 0
    died = chosen.child == "died"
    if answers.done == 0:
        answers.add(about(kit, chosen), [])
    for place, session in enumerate(kit["sessions"]):
        opened: Any = None
        for item in ("open", *session["requests"], *(["profile"] if session["profile"] else [])):
            number += 1
            if number < answers.done:
                continue
            record: Record = {"error": "the process ended", "died": True}
            arrays: list[Any] = []
            try:
                if not died and opened is None:
                    opened = open_session(kit, place, chosen)
                if isinstance(opened, Exception):
                    raise opened
                if not died:
                    record, arrays = work(item, opened, kit, place, chosen, folder)
            except Exception as error:  # noqa: BLE001 - ONNX Runtime raises many kinds; its text tells
                record = {"error": f"{type(error).__name__}: {error}"}
            if item == "open" and "error" in record:
                opened = RuntimeError(f"not opened: {record['error']}")  # and not tried again
            answers.add({"session": place, **record}, arrays)
            died = False
    answers.add({"end": answers.done}, [])


def work(
    item: Any, session: Any, kit: Record, place: int, chosen: argparse.Namespace, folder: Path
) -> tuple[Record, list[Any]]:
    """What a session says of itself, answers to inputs, or was measured to do: a record, arrays."""
    wanted = kit["sessions"][place]
    names = [output.name for output in session.get_outputs()]
    if item == "open":
        inputs = [each.name for each in session.get_inputs()]
        digests = [digest_of(path) for path in files_of(wanted, place)]
        placed = placement(session)
        return {"sha256": digests, "names": [inputs, names], "placement": placed}, []
    if item == "profile" and wanted["profile"] == 1 and placement(session):
        return {"profile": ""}, []  # one run is asked for where nothing else tells the placement
    if item == "profile":  # of another session, because it must not touch answers
        profiled = open_session(kit, place, chosen, str(folder / f"profile-{place}"))
        for _ in range(wanted["profile"]):
            profiled.run(None, arrays_of(wanted["requests"][0])[0])
        return {"profile": Path(profiled.end_profiling()).name}, []
    fed, digest = arrays_of(item)
    started = time.perf_counter()
    found = [np.ascontiguousarray(array) for array in session.run(names, fed)]
    found = [array.astype(str) if array.dtype.hasobject else array for array in found]  # of text
    outputs = [
        {"name": name, "dtype": array.dtype.str, "shape": array.shape, "bytes": array.nbytes}
        for name, array in zip(names, found, strict=True)
    ]
    return {"fed": digest, "outputs": outputs, "seconds": time.perf_counter() - started}, found


def open_session(kit: Record, place: int, chosen: argparse.Namespace, profile: str = "") -> Any:
    """An ONNX Runtime session on the provider, which is never replaced by another one."""
    import onnxruntime as ort

    wanted, provider = kit["sessions"][place], kit["providers"][chosen.provider]
    options, name = ort.SessionOptions(), provider["ort_name"]
    options.intra_op_num_threads, options.inter_op_num_threads = kit["threads"], 1
    level = f"ORT_{wanted['graph_level'].upper()}"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if not wanted["allow_cpu_fallback"]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    file = str(files_of(wanted, place)[0])
    if chosen.library:  # of a plugin provider
        ort.register_execution_provider_library(name, chosen.library)
        devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
        options.add_provider_for_devices(devices[:1], provider["options"])
        return ort.InferenceSession(file, options, enable_fallback=0)
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    if name not in ort.get_available_providers():
        raise RuntimeError(f"this ONNX Runtime was built without {name}")
    providers = [(name, provider["options"])]
    return ort.InferenceSession(file, options, providers=providers, enable_fallback=0)


def files_of(wanted: Record, place: int) -> list[Path]:
    """The files of a session under their own names, linked or copied from those of the kit."""
    folder = HERE / "sessions" / str(place)
    folder.mkdir(parents=True, exist_ok=True)
    for file in wanted["files"]:
        source, target = HERE / "files" / file["sha256"], folder / file["name"]
        if not target.exists():
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
    return [folder / file["name"] for file in wanted["files"]]


def arrays_of(request: Record) -> tuple[dict[str, Any], str]:
    """The inputs of a request, and the SHA-256 of their bytes one after the other."""
    arrays, state = {}, hashlib.sha256()
    with (HERE / "arrays.bin").open("rb") as file:
        for each in request["inputs"]:
            file.seek(each["at"])
            data = bytearray(file.read(each["bytes"]))
            state.update(data)
            arrays[each["name"]] = np.frombuffer(data, each["dtype"]).reshape(each["shape"])
    return arrays, state.hexdigest()


def placement(session: Any) -> dict[str, Counter[str]] | None:
    """Provider -> operator -> nodes; None of an ONNX Runtime before 1.24: the profile tells."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    placed: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes = [node.op_type for node in part.get_nodes()]
        placed.setdefault(part.ep_name, Counter()).update(nodes)
    return placed


def about(kit: Record, chosen: argparse.Namespace) -> Record:
    """What answers here: versions, device and driver as far as they can be read."""
    import onnxruntime as ort

    versions = {"onnxruntime": ort.__version__, "numpy": np.__version__}
    known = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in known.splitlines() if "model name" in line]
    try:
        ran = subprocess.run(NVIDIA, capture_output=True, text=True, timeout=30, check=False)
        gpus = ran.stdout.splitlines() if ran.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        gpus = []
    banned = kit["providers"][chosen.provider]["banned"]  # variables that change its precision
    return {
        "kit": digest_of(HERE / "kit.json"),
        "provider": chosen.provider,
        "threads": kit["threads"],
        "versions": {**versions, "python": platform.python_version()},
        "system": platform.platform(),
        "device": chosen.device or "; ".join(models[:1]) or platform.processor(),
        "driver": chosen.driver or "; ".join(gpus),
        "environment": {name: os.environ[name] for name in banned if name in os.environ},
    }


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Answer in a process of its own, and go on in another where that was ended."""
    kit = json.loads((HERE / "kit.json").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", default=kit["provider"], choices=list(kit["providers"]))
    parser.add_argument("--out", default="answers", help="the folder to write")
    parser.add_argument("--library", default="", help="the file of a plugin provider")
    parser.add_argument("--device", default="", help="what answers here, where nothing tells it")
    parser.add_argument("--driver", default="", help="its driver and firmware, likewise")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    folder = Path(chosen.out)
    if chosen.child:
        answer(kit, chosen, folder)
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HERE / "kit.json", folder / "kit.json")
    os.environ.update(kit["providers"][chosen.provider]["environment"])
    again = [sys.executable, __file__, *sys.argv[1:]]
    status = subprocess.call([*again, "--child=first"])
    while status not in (0, EXCEPTION):
        status = subprocess.call([*again, "--child=died"])
    if status == 0:
        print(f"answers: {folder}; where the kit was made: {kit['judge']} --answers={folder}")
    return status


if __name__ == "__main__":
    sys.exit(main())
