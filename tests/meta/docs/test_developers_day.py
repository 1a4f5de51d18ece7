"""Hooks and the workflow of this project call make: versions of tools stand in one place."""

import re

import yaml

from tests.meta.running import ROOT

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
AS_ROOT = 'sudo env "PATH=$PATH" '


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def test_every_hook_is_a_part_of_lint_and_every_part_a_hook():
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    called = {hook["entry"].split()[-1] for hook in hooks}
    assert called == {target for target in TARGETS if target.startswith("lint-")}
    assert all(hook["entry"].split()[0] == "make" for hook in hooks)


def test_the_workflow_calls_targets_and_tests_every_python_that_is_served():
    jobs = read(".github/workflows/ci.yml")["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    called = [step["run"].removeprefix(AS_ROOT).split() for step in steps if "run" in step]
    assert {parts[0] for parts in called} == {"make"}
    assert {parts[1] for parts in called} == {"lint", "quick", "test", "test-network"} <= TARGETS
    pythons = {
        step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")
    }
    assert pythons - {"${{ matrix.python }}"} | {
        *jobs["quick"]["strategy"]["matrix"]["python"]
    } == {
        "3.11",
        "3.12",
        "3.13",
    }
