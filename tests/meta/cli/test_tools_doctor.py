"""``make doctor``: what stops the default run is red, what only limits it is a warning."""

import sys

import pytest

from onnx_conformance.cli import doctor
from onnx_conformance.cli import doctor as machine
from onnx_conformance.cli.clashes import KEYS, load_incompatibilities, unmet
from onnx_conformance.cli.doctor import WorkerStart, disk, gpus
from onnx_conformance.cli.main import main
from onnx_conformance.core.errors import UsageError
from onnx_conformance.run.probe import ProbeResult

WORKS, BROKEN = WorkerStart(True, 1.0), WorkerStart(True, 0.0, "ImportError: libbroken.so.1")
ABSENT = WorkerStart(False, 0.0, "not installed")
HEALTHY = {"torch": WORKS, "keras": WORKS, "onnxruntime": WORKS}
RIGHT = ProbeResult(True, "ran a node correctly")


@pytest.mark.parametrize(
    ("installed", "incompatibility"),
    [
        ({"onnxruntime": "1.23.2", "onnxruntime-gpu": "1.23.2"}, "issues/26996"),
        ({"onnxruntime-gpu": "1.23.2"}, None),
        ({"onnxruntime-gpu": "1.18.1", "numpy": "2.0.0"}, "issues/21063"),
        ({"onnxruntime": "1.18.1", "numpy": "2.0.0"}, "issues/21063"),
        ({"onnxruntime": "1.18.1", "numpy": "1.26.4"}, None),
        ({"onnxruntime": "1.19.0", "numpy": "2.0.0"}, None),
        ({"onnx": "1.19.0", "ml_dtypes": "0.4.1"}, "issues/7249"),
        ({"tf2onnx": "1.16.1", "numpy": "2.1"}, "issues/2373"),
        ({"tf2onnx": "1.17.0rc1", "numpy": "1.26"}, None),
        ({"torch": "2.15.0"}, "issues/8620"),
        ({"torch": "2.15.0", "onnxscript": "0.7.2"}, None),
        ({"tensorflow-cpu": "2.15.0", "keras": "3.0.3"}, "issues/19069"),
    ],
)
def test_known_pairs_clash_and_others_do_not(installed, incompatibility):
    found = [entry.link for entry in load_incompatibilities() if entry.applies(installed.get)]
    assert [link.partition("/issues/")[2] for link in found] == (
        [incompatibility.partition("/")[2]] if incompatibility else []
    )


GOOD = {
    "packages": "{a: any}", "reason": "it breaks", "remedy": "remove a",
    "link": "https://example.org/1", "stops": "true",
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("packages", "{a: newest}", "must map packages to specifiers"),
        ("packages", "[a]", "must map packages to specifiers"),
        ("reason", "''", "'reason' must be a text"),
        ("link", "nowhere", "'link' must be the address"),
        ("stops", "often", "'stops' must be true or false"),
        ("stops", None, "line 1: 'stops' is missing"),
    ],
)
def test_a_malformed_entry_is_reported(tmp_path, key, value, message):
    entry = {name: text for name, text in {**GOOD, key: value}.items() if text is not None}
    path = tmp_path / "clashes.yaml"
    path.write_text("- " + "\n  ".join(f"{name}: {text}" for name, text in entry.items()))
    with pytest.raises(UsageError, match=message):
        load_incompatibilities(path)


def test_the_entries_have_all_keys(tmp_path):
    assert set(GOOD) == set(KEYS)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("numpy>=2", "a needs numpy >=2, but 1.26 is installed"),
        ("numpy", None),
        ("absent", "a needs absent, which is not installed"),
        ("absent; extra == 'more'", None),
        ("absent; python_version < '3'", None),
    ],
)
def test_requirements_that_are_not_met_are_reported(line, problem):
    installed = {"a": "1", "numpy": "1.26"}
    assert list(unmet(["a", "other"], installed.get, lambda package: [line])) == (
        [problem] if problem else []
    )


@pytest.fixture
def examine(monkeypatch, tmp_path):
    """The doctor on a machine that is made up."""

    def look(*, workers=HEALTHY, cpu=RIGHT, packages=(), running=(3, 11)):
        monkeypatch.setattr(doctor, "imports", lambda limit: workers)
        monkeypatch.setattr(doctor, "survey", lambda names, limit: {"cpu": cpu})
        monkeypatch.setattr(doctor, "of_packages", lambda versions: iter(packages))
        monkeypatch.setattr(sys, "version_info", (*running, 0))
        return main(["doctor", f"--cache-dir={tmp_path / 'cache'}"])

    return look


def test_a_healthy_machine(examine, capsys):
    assert examine() == 0
    output = capsys.readouterr().out
    assert output.startswith("Python ")
    assert "✓ the default run can succeed here" in output


STOPS = doctor.Diagnosis("a clash", True)
WARNS = doctor.Diagnosis("a clash", False)


@pytest.mark.parametrize(
    ("machine_", "status"),
    [
        ({"workers": {**HEALTHY, "torch": ABSENT}}, 0),
        ({"workers": {**HEALTHY, "torch": BROKEN}}, 1),
        ({"workers": {**HEALTHY, "torch": ABSENT, "keras": ABSENT}}, 1),
        ({"workers": {**HEALTHY, "onnxruntime": ABSENT}}, 1),
        ({"workers": {**HEALTHY, "onnxruntime": BROKEN}}, 1),
        ({"cpu": ProbeResult(False, "computes wrongly")}, 1),
        ({"packages": [STOPS]}, 1),
        ({"packages": [WARNS]}, 0),
        ({"running": (3, 10)}, 1),
        ({"running": (3, 14)}, 1),
    ],
)
def test_what_stops_the_default_run_is_red(examine, machine_, status, capsys):
    assert examine(**machine_) == status
    output = capsys.readouterr().out
    assert ("the default run cannot succeed here" in output) is bool(status)


def test_a_cache_that_cannot_be_written_stops(examine, tmp_path, capsys):
    (tmp_path / "cache").write_text("a file in its place")
    assert examine() == 1
    assert "cannot write to the cache directory" in capsys.readouterr().out


def test_an_engine_that_cannot_be_imported_is_reported(monkeypatch):
    kind = "tests.meta.doubles:BrokenBackend"
    monkeypatch.setattr(machine, "WORKERS", {kind: "json", "nothing": "no_such_module_here"})
    found = machine.imports(60.0)
    assert "libbroken" in found[kind].error
    assert not found[kind].usable
    assert not found["nothing"].installed


def test_the_disk_is_measured(tmp_path):
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / "file").write_bytes(b"x" * 1000)
    used, free = disk(tmp_path)
    assert used == 1000
    assert free > 0
    assert disk(tmp_path / "absent")[0] == 0


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("echo 'NVIDIA X, 80 GiB, 600'", ["NVIDIA X, 80 GiB, 600"]),
        ("echo no device >&2; exit 9", ["nvidia-smi fails: no device"]),
    ],
)
def test_the_driver_is_asked_for_its_devices(monkeypatch, tmp_path, script, output):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert gpus() == output
