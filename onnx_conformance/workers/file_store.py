"""What another host keeps of files, by digest, for the workers there: shipped to it as source.

Runs in execnet's gateway on that host, beside the workers, and needs the standard library alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import tempfile
import zipfile
from pathlib import Path
from typing import Any

channel: Any  # execnet puts it here


class FileStore:
    """Files under their digests, and folders in which some of them have their own names."""

    def __init__(self) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self._root = Path(cache) / "onnx-conformance"
        self._parts = Path(tempfile.mkdtemp(prefix="onnx-conformance-"))
        for name in ("files", "packages"):
            (self._root / name).mkdir(parents=True, exist_ok=True)

    def ping(self) -> str:
        """The folder of logs, which this process alone has."""
        return str(self._parts)

    def has(self, digest: str) -> bool:
        """Whether a file is here and whole."""
        path = self._root / "files" / digest
        if path.is_file() and _digest_of(path) != digest:
            path.unlink()
        return path.is_file()

    def put(self, digest: str, data: bytes, last: bool) -> bool:
        """Append to a file; False where the whole has another digest."""
        part = self._parts / digest
        with part.open("ab") as file:
            file.write(data)
        if not last:
            return True
        if _digest_of(part) != digest:
            part.unlink()
            return False
        shutil.move(part, self._root / "files" / digest)
        return True

    def place(self, folder: str, files: list[tuple[str, str]]) -> list[str]:
        """Paths of files by name and digest, beside each other."""
        place = self._parts / folder
        place.mkdir(exist_ok=True)
        for name, digest in files:
            if not (place / name).exists():
                source = self._root / "files" / digest
                try:
                    os.link(source, place / name)
                except OSError:
                    shutil.copyfile(source, place / name)
        return [str(place / name) for name, _ in files]

    def package(self, digest: str, packed: bytes) -> str:
        """The folder of this suite's package, unpacked where it is not here; empty: send it."""
        place = self._root / "packages" / digest
        if not place.is_dir() and packed:
            part = Path(tempfile.mkdtemp(dir=place.parent))
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                archive.extractall(part)
            part.replace(place)
        return str(place / "onnx_conformance") if place.is_dir() else ""

    def log(self, name: str) -> str:
        """The end of what a worker wrote to its standard error."""
        path = self._parts / name
        return path.read_text(errors="replace")[-4000:] if path.is_file() else ""

    def new_log(self, name: str) -> str:
        """The path of a new, empty log."""
        (self._parts / name).touch()
        return str(self._parts / name)

    def kill(self, pid: int) -> None:
        """End a worker."""
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def close(self) -> None:
        """Remove the folders of this process; files and packages are kept."""
        shutil.rmtree(self._parts, ignore_errors=True)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _serve(channel: Any) -> None:
    store = FileStore()
    try:
        for method, arguments in channel:
            try:
                channel.send(("ok", getattr(store, method)(*arguments)))
            except Exception as error:  # noqa: BLE001 - whatever is raised is the answer
                channel.send(("error", f"{type(error).__name__}: {error}"))
    finally:
        store.close()


if __name__ == "__channelexec__":
    _serve(channel)  # noqa: F821 # execnet's name
