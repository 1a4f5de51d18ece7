"""The documents: links lead somewhere, options and targets exist, code runs as it is written."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.running import ROOT

pytestmark = pytest.mark.slow

PAGES = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md"))
)
BLOCK = re.compile(r"<!-- (file: \S+|run|run: python) -->\n```\w*\n(.*?)```", re.DOTALL)
SOURCES = "\n".join(path.read_text() for path in ROOT.glob("onnx_conformance/**/*.py"))
# of pytest, its plugins and other programs
FOREIGN = {
    "--ignore",
    "--junitxml",
    "--hypothesis-profile",
    "--deselect",
    "--fast",
    "--help",
    "--strict",
}


def page(path):
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#\s]+)\)", page(path))
    local = [target for target in targets if not target.startswith("http")]
    missing = [target for target in local if not (ROOT / path.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_paths_and_modules_exist(path):
    folders = "onnx_conformance|fixtures|tests|studies"
    named = re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./-]+\w", page(path))
    modules = re.findall(rf"python -m ((?:{folders})[\w.]*\w)", page(path))
    places = [*named, *(module.replace(".", "/") for module in modules)]
    roots = (ROOT, ROOT / path.parent)  # a sample project has folders of its own
    missing = [
        place
        for place in places
        if not any((root / f"{place}{end}").exists() for root in roots for end in ("", ".py"))
    ]
    assert not missing


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_options_exist(path):
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", page(path)))
    ours = {name for name in named if not name.startswith("--benchmark") and name not in FOREIGN}
    unknown = [name for name in ours if f'"{name}"' not in SOURCES and not of_a_script(name)]
    assert not unknown


def of_a_script(name):
    """Whether a script of the suite's own takes the option."""
    scripts = [
        *ROOT.glob("tests/meta/**/*.py"),
        *ROOT.glob("studies/**/*.py"),
        *ROOT.glob("examples/**/*.sh"),
    ]
    return any(name in path.read_text() for path in scripts)


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_make_targets_exist(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make (?:-C \S+ )?([a-z][a-z-]+)", page(path), re.MULTILINE))
    assert named <= targets


def test_twelve_lines_from_a_module_to_a_verdict(tmp_path):
    """As written: the file, then the command; at most twelve lines of the reader's own."""
    blocks = dict(BLOCK.findall(page("README.md")))
    detailed = dict(BLOCK.findall(page("docs/own-models.md")))
    assert {kind: detailed[kind] for kind in blocks} == blocks
    (file,) = [kind for kind in blocks if kind.startswith("file: ")]
    body, command = blocks[file], shlex.split(blocks["run"])
    assert len([line for line in body.splitlines() if line.strip()]) <= 12
    path = tmp_path / file.removeprefix("file: ")
    path.write_text(body)
    assert command == ["make", "conformance", f"MODELS_FROM={path.name}"]
    options = [f"--report-{kind}={tmp_path / kind}" for kind in ("json", "html")]
    options += ["--exporter=torch_torchscript", "--opset=18", "--provider=cpu"]
    arguments = shlex.join([*options, f"--cache-dir={tmp_path / 'cache'}"])
    ran = subprocess.run(
        ["make", "-C", str(ROOT), "conformance", f"MODELS_FROM={path}", f"ARGS={arguments}"],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert json.loads((tmp_path / "json").read_text())["run"]["verdict"] == "passed"


def test_a_test_of_your_own_runs_as_written(tmp_path):
    """What README says of a project that installed the package; the plugin is named here."""
    ((name, body),) = re.findall(
        r"<!-- test: (\S+) -->\n```python\n(.*?)```", page("README.md"), re.S
    )
    assert len([line for line in body.splitlines() if line.strip()]) <= 10
    (tmp_path / name).write_text(body)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "onnx_conformance.plugin", "-q", name],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert "1 passed" in ran.stdout


SCRIPTS = [(path, body) for path in PAGES for kind, body in BLOCK.findall(page(path))
           if kind == "run: python"]  # fmt: skip


def test_code_runs_as_written(tmp_path):
    """One after the other in one process, which imports the framework once."""
    scripts = [f"exec(compile({body!r}, {str(path)!r}, 'exec'))" for path, body in SCRIPTS]
    assert scripts
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(scripts)],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_the_readme_is_short_and_has_pictures():
    assert len(page("README.md").split()) <= 850
    assert page("README.md").count("](docs/images/") >= 3


def test_figures_in_the_readme_are_those_of_their_file():
    """Every number of a marked paragraph is in the file that a study wrote."""
    marked = re.findall(
        r"<!-- figures: (\S+) -->\n(.*?)<!-- end of figures -->", page("README.md"), re.S
    )
    assert marked
    for file, text in marked:
        figures = set(re.findall(r"\d+(?:\.\d+)?", page(file)))
        typed = {number.replace(",", "") for number in re.findall(r"\d[\d,.]*\d|\d", text)}
        assert typed <= figures


def test_pictures_show_the_figures_of_their_files() -> None:
    detection = json.loads(page(Path("docs/figures/detection.json")))
    shown = page(Path("docs/images/detection.svg"))
    sentence = "python docs/images/bars.py draws it anew"
    assert all(f">{rule['told_apart']:.1f} %<" in shown for rule in detection["rules"]), sentence
    wild = json.loads(page(Path("docs/wild.json")))["figures"]
    shown = page(Path("docs/images/wild.svg"))
    assert f"right files that passed: {wild['passed_rightly']}<" in shown, sentence
    assert f"wrong verdicts: {wild['wrong_verdicts']}<" in shown, sentence
