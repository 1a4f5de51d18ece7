"""The example CI: its files parse, call what exists, and its script is never green by mistake."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "ci"
SCRIPT = EXAMPLES / "ci.sh"
WORKFLOWS = ("github.yml", "gitlab-ci.yml")

# Records its words, a line a call, and leaves what the real targets would leave.
MAKE = """#!/usr/bin/env python3
import json, os, pathlib, shlex, sys
target, *words = sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps([target, *words]), file=calls)
given = dict(word.split("=", 1) for word in words)
options = dict(word.partition("=")[::2] for word in shlex.split(given["ARGS"]))
verdict = os.environ["VERDICT"]
if target == "conformance" and verdict != "bad input":
    pathlib.Path(options["--report-md"]).write_text("## the summary of conformance\\n")
    document = {"run": {"verdict": verdict}}
    pathlib.Path(options["--report-json"]).write_text(json.dumps(document))
    if os.environ.get("ARTIFACTS", "yes") == "yes":
        folder = pathlib.Path(options["--save-onnx"])
        folder.mkdir()
        (folder / "manifest.json").write_text('{"new": {}}')
if target == "gate":
    pathlib.Path(options["--report-md"]).write_text("## the summary of the gate\\n")
    sys.exit(int(os.environ["GATE_STATUS"]))
sys.exit(0 if verdict in ("passed", "incomplete") else 2)
"""


class Place:
    """A folder in which the script runs, with a ``make`` that only records."""

    def __init__(self, folder):
        self.out = folder / "out"
        self.baseline = self.out / "baseline"
        self.calls_file = folder / "calls"
        self.github = folder / "github.md"
        self.github.write_text("an earlier step\n")
        tools = folder / "bin"
        tools.mkdir()
        (tools / "make").write_text(MAKE)
        (tools / "make").chmod(0o755)
        self.path = f"{tools}{os.pathsep}{os.environ['PATH']}"

    def keep(self, text='{"old": {}}'):
        self.baseline.mkdir(parents=True)
        (self.baseline / "manifest.json").write_text(text)

    def run(self, branch, verdict="passed", gate_status=0, **variables):
        """The script's exit status and words."""
        environment = {
            "PATH": self.path,
            "HOME": str(self.out),
            "CALLS": str(self.calls_file),
            "GITHUB_STEP_SUMMARY": str(self.github),
            "BRANCH": branch,
            "OUT": str(self.out),
            "VERDICT": verdict,
            "GATE_STATUS": str(gate_status),
            **variables,
        }
        command = ["bash", str(SCRIPT)]
        finished = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return finished.returncode, finished.stdout + finished.stderr

    @property
    def calls(self):
        if not self.calls_file.exists():
            return []
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    @property
    def targets(self):
        return [target for target, *_ in self.calls]

    @property
    def manifest(self):
        return (self.baseline / "manifest.json").read_text()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# -- main ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("had", [True, False])
def test_main_proved_becomes_the_baseline(place, had):
    if had:
        place.keep()
    status, text = place.run("main")
    assert status == 0, text
    assert place.manifest == '{"new": {}}'
    assert "these artifacts are the new baseline" in text
    assert place.targets == ["conformance"]
    assert not (place.out / "baseline.old").exists()


@pytest.mark.parametrize("verdict", ["red", "incomplete", "proved nothing", "bad input"])
def test_main_not_proved_keeps_the_old_baseline_and_is_red(place, verdict):
    place.keep()
    status, text = place.run("main", verdict)
    assert status == 1
    assert "Red: conformance gave status" in text
    assert place.manifest == '{"old": {}}'
    assert [path.name for path in place.baseline.iterdir()] == ["manifest.json"]


def test_main_that_left_no_artifacts_is_red(place):
    place.keep()
    status, text = place.run("main", ARTIFACTS="no")
    assert status == 1
    assert "conformance left no artifacts" in text
    assert place.manifest == '{"old": {}}'


def test_a_folder_that_is_no_baseline_is_never_replaced(place):
    place.baseline.mkdir(parents=True)
    (place.baseline / "thesis.tex").write_text("")
    status, text = place.run("main")
    assert status == 1
    assert "is no baseline (it has no manifest.json)" in text
    assert (place.baseline / "thesis.tex").exists()


# -- other branches ------------------------------------------------------------------------------


def test_a_branch_is_gated_against_the_baseline(place):
    place.keep()
    status, text = place.run("feature", GATE_ARGS="--gate-strict")
    assert status == 0, text
    assert place.targets == ["conformance", "gate"]
    _, baseline, arguments = place.calls[1]
    assert baseline == f"BASELINE={place.baseline}"
    assert "--gate-strict" in shlex.split(arguments.removeprefix("ARGS="))
    assert "nothing is slower" in text
    assert place.manifest == '{"old": {}}'


def test_a_red_gate_is_red(place):
    place.keep()
    status, text = place.run("feature", gate_status=2)
    assert status == 1
    assert "Red: the gate against main's artifacts gave status 2" in text
    assert "nothing is slower" not in text


def test_a_branch_that_is_not_proved_is_red_and_not_gated(place):
    place.keep()
    status, text = place.run("feature", "red")
    assert status == 1
    assert place.targets == ["conformance"]
    assert "nothing was gated" in text


@pytest.mark.parametrize("empty", [True, False])
def test_a_branch_without_a_baseline_is_red_and_says_what_to_do(place, empty):
    if empty:
        place.baseline.mkdir(parents=True)
    status, text = place.run("feature")
    assert status == 1
    assert f"there is no baseline in {place.baseline}, so nothing was gated" in text
    assert "Run this on main first" in text
    assert "FIRST_RUN=yes" in text
    assert place.targets == ["conformance"]


def test_a_first_run_may_go_without_a_baseline_and_says_so(place):
    status, text = place.run("feature", FIRST_RUN="yes")
    assert status == 0, text
    assert "NOTHING WAS GATED" in text
    assert "NOTHING WAS GATED" in place.github.read_text()
    assert place.targets == ["conformance"]
    assert not place.baseline.exists()


def test_a_first_run_that_has_a_baseline_is_gated(place):
    place.keep()
    place.run("feature", FIRST_RUN="yes")
    assert place.targets == ["conformance", "gate"]


# -- summary and bad input -----------------------------------------------------------------------


def test_the_summary_is_appended_also_of_a_red_run(place):
    place.keep()
    place.run("feature", gate_status=2)
    whole = place.github.read_text()
    parts = ("an earlier step", "summary of conformance", "summary of the gate", "Red: the gate")
    places = [whole.index(part) for part in parts]
    assert places == sorted(places)
    assert whole == "an earlier step\n" + (place.out / "summary.md").read_text()


def test_reports_of_an_earlier_run_are_not_reported_again(place):
    place.run("main")
    status, text = place.run("main", "bad input")
    assert status == 1
    assert "the verdict 'no verdict'" in text
    assert "summary of conformance" not in (place.out / "summary.md").read_text()


def test_a_path_that_make_would_split_is_refused(place):
    status, text = place.run("main", BASELINE="/tmp/two words")
    assert status == 1
    assert "only letters, digits" in text
    assert place.calls == []


# -- the files -----------------------------------------------------------------------------------


def test_the_script_parses_and_stops_at_errors():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    assert "\nset -euo pipefail\n" in SCRIPT.read_text()
    assert os.access(SCRIPT, os.X_OK)


def test_every_variable_that_may_be_given_is_documented():
    text = SCRIPT.read_text()
    head, _, body = text.partition("set -euo pipefail")
    accepted = set(re.findall(r"\$\{(\w+):-", body))
    assert accepted >= {"BRANCH", "MAIN", "OUT", "BASELINE", "FIRST_RUN"}
    assert not [name for name in accepted if not re.search(rf"^#  .*\b{name}\b", head, re.M)]


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"^ +make ([\w-]+)", SCRIPT.read_text(), re.MULTILINE))
    assert called == {"conformance", "gate"}
    named = set(re.findall(r"`make ([\w-]+)", (EXAMPLES / "README.md").read_text()))
    assert called | named <= targets


def steps_of(name):
    """The jobs of a workflow as (time-out, commands, environment)."""
    workflow = yaml.safe_load((EXAMPLES / name).read_text())
    if name == "github.yml":
        for job in workflow["jobs"].values():
            runs = [step for step in job["steps"] if "run" in step]
            assert [step for step in runs if step["timeout-minutes"] < job["timeout-minutes"]]
            yield job["timeout-minutes"], [step["run"] for step in runs]
    else:
        for job in workflow.values():
            if isinstance(job, dict) and "script" in job:
                yield workflow[job["extends"]]["timeout"], job["script"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_calls_the_script_and_nothing_else(name):
    jobs = list(steps_of(name))
    assert jobs
    for limit, commands in jobs:
        assert limit
        [command] = commands
        assert shlex.split(command)[-1] == str(SCRIPT.relative_to(ROOT))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_keeps_environment_results_and_baseline(name):
    text = (EXAMPLES / name).read_text()
    for kept in (".venv", ".conformance/cache", ".conformance/ci/baseline"):
        assert re.search(rf"(path: |paths: \[){re.escape(kept)}\b", text), kept
    assert not re.search(r"secrets\.|https?://|password|token", text, re.IGNORECASE)


def test_only_main_writes_the_baseline():
    gitlab = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
    policies = {name: gitlab[name]["cache"][-1]["policy"] for name in ("main", "branch")}
    assert policies == {"main": "pull-push", "branch": "pull"}
    github = yaml.safe_load((EXAMPLES / "github.yml").read_text())
    steps = github["jobs"]["conformance"]["steps"]
    [save] = [step for step in steps if step.get("uses", "").startswith("actions/cache/save@")]
    assert save["if"] == "github.ref_name == 'main'"  # and, as by default, only after success
    [restore] = [step for step in steps if "cache/restore@" in step.get("uses", "")]
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])


def test_findings_are_written_where_the_workflows_look_for_them(place):
    """Every option of the run is one of the suite's, and every report of a workflow is written."""
    place.run("main")
    words = shlex.split(dict(word.split("=", 1) for word in place.calls[0][1:])["ARGS"])
    sources = "\n".join(path.read_text() for path in (ROOT / "onnx_conformance").rglob("*.py"))
    options = dict(word.split("=", 1) for word in words)
    assert not [name for name in options if f'"{name}"' not in sources and name != "--junitxml"]
    written = {Path(path).name for path in options.values()}
    github = yaml.safe_load((EXAMPLES / "github.yml").read_text())
    [sarif] = [
        step["with"]["sarif_file"]
        for step in github["jobs"]["conformance"]["steps"]
        if "upload-sarif@" in step.get("uses", "")
    ]
    assert github["permissions"]["security-events"] == "write"
    gitlab = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
    reports = gitlab[".conformance"]["artifacts"]["reports"].values()
    assert {Path(path).name for path in (sarif, *reports)} <= written
