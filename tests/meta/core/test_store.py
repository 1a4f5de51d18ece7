"""The cache: whole entries or none, built once, verified on every read."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.store import CorruptEntryWarning, Store, key_of
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


FILES = ("data/more.bin", "manifest.json", "model.onnx")


def build(directory):
    """A builder of two files, one in a folder."""
    (directory / "model.onnx").write_bytes(b"weights")
    (directory / "data").mkdir()
    (directory / "data" / "more.bin").write_bytes(b"more")
    return {"nodes": 3}


def unwanted(directory):
    raise AssertionError("the entry should have come from the cache")


def left_over(store):
    """Everything in the cache but its locks."""
    files = [path.relative_to(store.root) for path in store.root.rglob("*") if path.is_file()]
    return sorted(str(path) for path in files if path.suffix != ".lock")


@contextlib.contextmanager
def other_process(store, builder):
    """Another process that builds ``kind/key`` and is now inside its builder."""
    script = f"""
        import json, pathlib, sys
        from onnx_conformance.core.store import Store

        def build(directory):
            (directory / "model.onnx").write_bytes(b"half")
            print("building", flush=True)
            sys.stdin.readline()
            {builder}

        entry = Store(pathlib.Path({str(store.root)!r})).get_or_build("kind", "key", build)
        """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout.readline() == "building\n"
            yield process
        finally:
            process.kill()


# -- keys ------------------------------------------------------------------------------------


def test_key_is_of_the_content_not_of_its_order():
    assert key_of(a=1, b={"x": 1, "y": 2}) == key_of(b={"y": 2, "x": 1}, a=1)


@pytest.mark.parametrize("parts", [{"a": 2}, {"a": "1"}, {"a": None}, {"b": 1}, {"a": 1, "b": 1}])
def test_other_content_has_another_key(parts):
    assert key_of(**parts) != key_of(a=1)


def test_key_is_the_same_in_every_process():
    code = "from onnx_conformance.core.store import key_of; print(key_of(a=1, b=('x', {'y': 2.5})))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == key_of(a=1, b=("x", {"y": 2.5}))


def test_key_of_what_has_no_stable_text_is_refused():
    with pytest.raises(TypeError, match="not JSON serializable"):
        key_of(options={"a", "b"})  # a set's order changes from process to process


# -- building and reading --------------------------------------------------------------------


def test_built_once_then_read(store):
    built = store.get_or_build("artifacts", "key", build)
    read = store.get_or_build("artifacts", "key", unwanted)
    assert built == read
    assert read.path == store.root / "artifacts" / "key"
    assert read.facts == {"nodes": 3}
    assert read.digests == {
        name: file_digest(read.path / name) for name in ("data/more.bin", "model.onnx")
    }


def test_another_key_or_kind_is_another_entry(store):
    paths = {
        store.get_or_build(*names, build).path for names in [("a", "1"), ("a", "2"), ("b", "1")]
    }
    assert len(paths) == 3


def test_facts_are_the_same_fresh_and_cached(store):
    fresh = store.get_or_build("kind", "key", lambda directory: {"shape": (1, 2), 3: "three"})
    assert fresh == store.get_or_build("kind", "key", unwanted)


def test_two_processes_build_a_key_once(store):
    with (
        other_process(store, 'return {"by": "the other"}') as process,
        ThreadPoolExecutor() as pool,
    ):
        waiting = pool.submit(store.get_or_build, "kind", "key", unwanted)
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert waiting.result(20).facts == {"by": "the other"}


# -- what leaves no entry --------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_builder_that_raises_leaves_nothing(store, error):
    def broken(directory):
        build(directory)
        raise error

    with pytest.raises(error):
        store.get_or_build("kind", "key", broken)
    assert left_over(store) == []
    assert store.get_or_build("kind", "key", build).facts == {"nodes": 3}


def test_killed_builder_leaves_no_entry_and_the_next_build_works(store):
    with other_process(store, "raise AssertionError") as process:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert store.read(store.root / "kind" / "key") is None
    entry = store.get_or_build("kind", "key", build)
    assert (entry.path / "model.onnx").read_bytes() == b"weights"
    assert left_over(store) == [
        "kind/key/data/more.bin",
        "kind/key/manifest.json",
        "kind/key/model.onnx",
    ]


def test_full_disk_leaves_nothing_half_written(store, monkeypatch):
    def full(path, text):
        with path.open("w") as file:
            file.write(text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", full)
        with pytest.raises(OSError, match="No space left on device"):
            store.get_or_build("kind", "key", build)
    assert left_over(store) == []
    assert store.get_or_build("kind", "key", build).facts == {"nodes": 3}


# -- what is found broken --------------------------------------------------------------------


def truncated(path):
    path.write_bytes(path.read_bytes()[:-5])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def without_facts(path):
    path.write_text(json.dumps({"digests": {}}))


def other_facts(path):
    path.write_text(path.read_text().replace('"nodes": 3', '"nodes": 4'))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.onnx", flipped),
        ("model.onnx", truncated),
        ("model.onnx", os.unlink),
        ("data/more.bin", os.unlink),
        ("manifest.json", truncated),
        ("manifest.json", flipped),
        ("manifest.json", os.unlink),
        ("manifest.json", without_facts),
        ("manifest.json", other_facts),
        ("manifest.json", lambda path: path.write_text("null")),
        ("manifest.json", lambda path: path.write_bytes(b"")),
    ],
)
def test_damaged_entry_is_named_and_built_anew(store, name, damage):
    entry = store.get_or_build("kind", "key", build)
    damage(entry.path / name)
    with pytest.warns(CorruptEntryWarning, match=f"{entry.path} is corrupt .*{name}"):
        assert store.get_or_build("kind", "key", build) == entry
    assert (entry.path / "model.onnx").read_bytes() == b"weights"
    assert store.get_or_build("kind", "key", unwanted) == entry


# -- where it cannot be written --------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "/cache"])
def test_unwritable_directory_is_one_line(tmp_path, below):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="cannot write to the cache directory") as caught:
        Store(tmp_path / f"file{below}")
    assert "--cache-dir" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_opening_a_store_leaves_no_file(store):
    assert list(store.root.iterdir()) == []


def aged(store, *ages):
    """Entries that were last used so many seconds ago, and the bytes of each."""
    now = time.time()
    for age in ages:
        entry = store.get_or_build("kind", f"aged{age}", build)
        os.utime(entry.path / "manifest.json", (now - age, now - age))
    store.release()
    return sum(path.stat().st_size for path in entry.path.rglob("*") if path.is_file())


def kept(store):
    return {path.name for path in (store.root / "kind").iterdir() if path.is_dir()}


def test_what_was_not_used_for_longest_is_pruned(store):
    size = aged(store, 10, 30, 20)
    assert store.prune(2 * size) == size
    assert kept(store) == {"aged10", "aged20"}
    assert left_over(store) == [f"kind/{n}/{f}" for n in sorted(kept(store)) for f in FILES]


def test_a_read_counts_as_use(store):
    size = aged(store, 10, 30)
    assert store.peek("kind", "aged30") is not None
    store.release()
    store.prune(size)
    assert kept(store) == {"aged30"}


def test_what_a_living_run_has_used_is_not_pruned(store):
    """Its path may be in use where no lock is held: by a worker that opens the model."""
    aged(store, 10, 30)
    other = Store(store.root)
    assert other.peek("kind", "aged30") is not None
    assert store.prune(0) > 0
    assert kept(store) == {"aged30"}
    assert store.prune(0) == 0  # asking does not end the protection
    other.release()
    store.prune(0)
    assert kept(store) == set()


def test_a_killed_run_protects_nothing(store):
    aged(store, 10)
    with other_process(store, "return {}") as process:
        assert store.prune(0) > 0
        process.kill()
        process.wait()
    aged(store, 20)
    assert store.prune(0) > 0
    assert kept(store) == {"key.partial"}  # of the killed writer; the next one takes its place
    assert not list((store.root / "runs").glob("*"))
