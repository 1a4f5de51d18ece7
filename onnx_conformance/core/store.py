"""The content-addressed cache: key, lock, atomic write, digest check on read.

An entry is a directory of files with a ``manifest.json`` that holds each file's SHA-256.
It is written beside its final place and renamed into it, so a kill at any moment leaves
either no entry or a whole one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import file_digest

MANIFEST = "manifest.json"
RUNS = "runs"  # of the processes that use a store: a file each, locked while it lives


class CorruptEntryWarning(UserWarning):
    """A cache entry did not match its digest and was built anew."""


@dataclass(frozen=True)
class CacheEntry:
    """A whole, verified entry: its directory and the builder's facts about it."""

    path: Path
    facts: dict[str, Any]
    digests: dict[str, str]


def key_of(**parts: Any) -> str:
    """SHA-256 of the parts as canonical JSON: the same content, the same key.

    Raises:
        TypeError: a part that JSON does not know, whose text might differ between processes.
    """
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _used_at(place: Path) -> int | None:
    with suppress(FileNotFoundError):
        return (place / MANIFEST).stat().st_mtime_ns
    return None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _differs(path: Path, digest: str) -> bool:
    return not path.is_file() or file_digest(path) != digest


class Store:
    """Entries under ``root/kind/key``. Safe between processes and after a kill."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._using: FileLock | None = None
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            raise UsageError(
                f"cannot write to the cache directory {root} ({error.strerror}); "
                "name another with --cache-dir, or use --no-cache"
            ) from error

    def get_or_build(
        self, kind: str, key: str, build: Callable[[Path], dict[str, Any]]
    ) -> CacheEntry:
        """The entry, built by ``build(directory) -> facts`` if it is absent or corrupt."""
        self._use()
        place = self.root / kind / key
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            entry = self.read(place)
            return entry if entry is not None else self._write(place, build)

    @contextmanager
    def exclusive(self, kind: str, key: str) -> Iterator[None]:
        """Hold a lock that one process at a time can hold, for work on several entries.

        The lock of an entry may be taken within; the reverse would wait for ever.
        """
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{key}.work.lock"):
            yield

    def peek(self, kind: str, key: str) -> CacheEntry | None:
        """The verified entry, or None; builds nothing."""
        place = self.root / kind / key
        if not place.is_dir():
            return None
        self._use()
        with FileLock(f"{place}.lock"):
            return self.read(place)

    def read(self, place: Path) -> CacheEntry | None:
        """The verified entry at ``place``, or None; a corrupt one is removed with a warning."""
        if not place.is_dir():
            return None
        try:
            manifest = json.loads((place / MANIFEST).read_text())
            facts, digests = manifest["facts"], manifest["digests"]
            wrong = [name for name, digest in digests.items() if _differs(place / name, digest)]
            if manifest["sha256"] != key_of(facts=facts, digests=digests):
                wrong.append(MANIFEST)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            wrong = [f"{MANIFEST} ({error})"]
        if not wrong:
            now = time.time_ns()  # the system's own stamp may lie some ms behind _use's
            os.utime(place / MANIFEST, ns=(now, now))  # when it was last used
            return CacheEntry(place, facts, digests)
        shutil.rmtree(place)  # first: under pytest's filters a warning may be an exception
        message = f"cache entry {place} is corrupt ({', '.join(wrong)}); building it anew"
        warnings.warn(CorruptEntryWarning(message), stacklevel=3)
        return None

    def _use(self) -> None:
        """From now on, until it is released, what is used here is not pruned by others."""
        if self._using is None:
            folder = self.root / RUNS
            folder.mkdir(exist_ok=True)
            path = folder / f"{time.time_ns()}-{uuid.uuid4().hex}.lock"
            self._using = FileLock(path, thread_local=False)
            self._using.acquire()

    def release(self) -> None:
        """Use no entry any more that was had until now."""
        if self._using is not None:
            self._using.release()
            self._using = None

    def prune(self, limit: int) -> int:
        """Remove the entries that were not used for longest, down to ``limit`` bytes.

        What a living process has used since it began stays, whatever it takes.

        Returns:
            How many bytes were removed.
        """
        began = min(self._began(), default=time.time_ns())
        used = {path.parent: path.stat().st_mtime_ns for path in self.root.glob(f"*/*/{MANIFEST}")}
        sizes = {place: _size(place) for place in used}
        whole = left = sum(sizes.values())
        for place in sorted(used, key=used.__getitem__):
            if left <= limit or used[place] >= began:
                break
            with FileLock(f"{place}.lock"):
                if _used_at(place) == used[place]:  # nobody took it meanwhile
                    gone = place.with_name(f"{place.name}.partial")
                    shutil.rmtree(gone, ignore_errors=True)
                    place.rename(gone)
                    shutil.rmtree(gone)
                    left -= sizes[place]
        return whole - left

    def _began(self) -> Iterator[int]:
        """When each living process began to use the store, in ns; files of ended ones go."""
        for path in (self.root / RUNS).glob("*.lock"):
            try:
                with FileLock(path, timeout=0):
                    path.unlink(missing_ok=True)
            except Timeout:
                yield int(path.name.partition("-")[0])

    def _write(self, place: Path, build: Callable[[Path], dict[str, Any]]) -> CacheEntry:
        partial = place.with_name(f"{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed writer; we hold the lock
        partial.mkdir()
        try:
            facts = json.loads(json.dumps(build(partial)))  # as every later reader will see them
            files = sorted(path for path in partial.rglob("*") if path.is_file())
            digests = {str(path.relative_to(partial)): file_digest(path) for path in files}
            sha256 = key_of(facts=facts, digests=digests)
            manifest = {"facts": facts, "digests": digests, "sha256": sha256}
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
            partial.rename(place)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return CacheEntry(place, facts, digests)
