"""No pass without evidence: every sabotage turns the run red, with its cause named."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from onnx_conformance.checks.registry import PLAIN_CASE
from studies.sabotage import SCENARIOS, load_scenarios
from studies.sabotage.answers import HALVES, in_parts
from studies.sabotage.scenario_verdict import judge, red_lines
from studies.sabotage.table import DOCUMENT

pytestmark = pytest.mark.slow

load_scenarios()
LEAST = 30
RUNS = [scenario for scenario in SCENARIOS.values() if scenario.kind == "run"]
ANSWERS = [scenario for scenario in SCENARIOS.values() if scenario.kind == "answer"]


def named(scenarios):
    return pytest.mark.parametrize("scenario", scenarios, ids=lambda scenario: scenario.name)


@pytest.fixture(scope="module")
def ended(request, right_of, tmp_path_factory):
    """The outcomes of the selected whole runs, as futures: two run at a time."""
    cache = tmp_path_factory.mktemp("cache")
    chosen = [
        item.callspec.params.get("scenario")
        for item in request.session.items
        if hasattr(item, "callspec")
    ]

    def play(scenario):
        return judge(scenario, right_of, tmp_path_factory.mktemp("run"), cache)

    with ThreadPoolExecutor(2) as pool:
        yield {
            scenario.name: pool.submit(play, scenario) for scenario in RUNS if scenario in chosen
        }


@named(ANSWERS)
def test_a_betrayed_answer_is_red(right_of, tmp_path, scenario):
    outcome = judge(scenario, right_of, tmp_path, tmp_path)
    assert outcome.red, outcome.plain
    assert outcome.named, outcome.says


@named(RUNS)
def test_a_sabotaged_run_is_red(ended, scenario):
    outcome = ended[scenario.name].result()
    assert outcome.red, (outcome.where, outcome.says)
    assert outcome.named, outcome.says


def test_what_the_scenarios_start_from_is_green(right_of):
    right = right_of(PLAIN_CASE)
    assert list(red_lines(right)) == []
    assert list(red_lines(in_parts(right, HALVES))) == []
    assert list(red_lines(in_parts(right, {"output": slice(0, 1)}))) == []


def test_there_are_enough_scenarios_each_with_a_story():
    assert len(SCENARIOS.values()) >= LEAST
    assert all(scenario.story and scenario.message for scenario in SCENARIOS.values())


def test_the_table_lists_every_scenario():
    rows = re.findall(r"^\| (.+?) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows[1:] == list(SCENARIOS)  # the first is the heading
