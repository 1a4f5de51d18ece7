"""A set of inputs that ends the runtime's process is found, and spoils no other's answer."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.checks.robustness import check_empty_batch, check_refusal
from onnx_conformance.core.errors import StageFailure, WorkerDied, WorkerEnded, WorkerError
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.runtime_failures import (
    MOST_DEATHS,
    Isolation,
    hung,
    lacking_of_machine,
)
from onnx_conformance.run.subject import Answer

INPUT_SETS = [Inputs(x=np.full(1, value)) for value in range(5)]


def failure(error):
    stage = StageFailure("runtime", "net", str(error), error.details)
    stage.__cause__ = error
    return stage


def run_isolated(run, input_sets, renew):
    """The results of inputs, as the runtime's side runs them."""
    isolation = Isolation(input_sets, renew)
    for some in isolation:
        try:
            isolation.ran(run(some))
        except StageFailure as failure:
            isolation.failed(failure)
    return isolation.results


DEATH = WorkerEnded(
    "onnxruntime worker died", "in 'run', exit status -6", "a word\nthe last word\n"
)
HANG = WorkerDied("onnxruntime worker hung", "'run' did not answer within 9 s and was killed")
RAISED = WorkerError("RuntimeError", "no")


LOST = "Fail: CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=h"


def kept():
    raise AssertionError("no process is to be renewed")


class Gpu:
    """A process whose GPU is lost to some inputs, and answers nothing until it is renewed."""

    def __init__(self, deadly, message=LOST):
        self.deadly, self.message, self.lost, self.renewed = deadly, message, False, 0

    def renew(self):
        self.lost, self.renewed = False, self.renewed + 1

    def run(self, input_sets):
        return [self.answer(int(inputs["x"][0])) for inputs in input_sets]

    def answer(self, value):
        self.lost = self.lost or value in self.deadly
        return {"error": self.message} if self.lost else {"outputs": value}


def runner(deadly, error=DEATH):
    """Answers each set of inputs with its number, and counts its calls."""
    calls = []

    def run(input_sets):
        values = [int(inputs["x"][0]) for inputs in input_sets]
        calls.append(values)
        if deadly.intersection(values):
            raise failure(error)
        return [{"outputs": value} for value in values]

    return run, calls


def test_inputs_that_end_nothing_run_together():
    run, calls = runner(set())
    assert [result["outputs"] for result in run_isolated(run, INPUT_SETS, kept)] == [0, 1, 2, 3, 4]
    assert calls == [[0, 1, 2, 3, 4]]


def test_the_deadly_inputs_alone_have_no_answer():
    results = run_isolated(runner({3})[0], INPUT_SETS, kept)
    assert [result.get("outputs") for result in results] == [0, 1, 2, None, 4]
    assert results[3]["died"]
    assert "exit status -6; its last output: the last word" in results[3]["error"]


@pytest.mark.parametrize("error", [HANG, RAISED], ids=["hang", "error"])
def test_what_did_not_end_by_itself_is_not_tried_again(error):
    run, calls = runner({3}, error)
    with pytest.raises(StageFailure):
        run_isolated(run, INPUT_SETS, kept)
    assert len(calls) == 1


def test_only_what_was_killed_at_its_limit_hung():
    assert hung(failure(HANG))
    assert not hung(failure(DEATH))
    assert not hung(failure(RAISED))


def test_a_file_that_ends_the_process_on_most_inputs_fails_as_one():
    run, calls = runner(set(range(5)))
    with pytest.raises(StageFailure):
        run_isolated(run, INPUT_SETS, kept)
    assert len(calls) == 1 + MOST_DEATHS + 1


def test_one_set_of_inputs_that_ends_the_process_is_told_as_among_others():
    """A check that is run alone, or one by one (--first-finding), finds what a whole run finds."""
    run, calls = runner({0})
    results = run_isolated(run, INPUT_SETS[:1], kept)
    assert results[0]["died"]
    assert len(calls) == 1


def test_inputs_that_cost_the_gpu_cost_no_others_their_answer():
    gpu = Gpu({2})
    results = run_isolated(gpu.run, INPUT_SETS, gpu.renew)
    assert [result.get("outputs") for result in results] == [0, 1, None, 3, 4]
    assert "illegal memory access" in results[2]["error"]
    assert not gpu.lost


def test_one_set_of_inputs_that_costs_the_gpu_leaves_a_fresh_process():
    gpu = Gpu({2})
    assert run_isolated(gpu.run, INPUT_SETS[2:3], gpu.renew) == [{"error": LOST}]
    assert gpu.renewed == 1


@pytest.mark.parametrize("message", ["CUDA failure 2: out of memory ; GPU=0", "INVALID_ARGUMENT"])
def test_other_errors_renew_nothing(message):
    assert len(run_isolated(Gpu({2}, message).run, INPUT_SETS, kept)) == len(INPUT_SETS)


def test_a_lacking_locale_is_no_fault_of_the_file():
    said = "Failed to construct locale with name:en_US.UTF-8:locale::facet name not valid"
    line = lacking_of_machine(StageFailure("runtime", "a case", said))
    assert "this machine lacks the locale en_US.UTF-8" in line
    assert lacking_of_machine(StageFailure("runtime", "a case", "no locale, no kernel")) is None


def dead(inputs, repeat=0):
    return Answer(None, "onnxruntime worker died", died=True)


def test_a_crash_is_neither_a_refusal_nor_an_answer():
    """Not even where native refuses the inputs too."""
    subject = SimpleNamespace(
        model=MODELS["simple_net"],
        seed=0,
        run=dead,
        native_refusal=lambda inputs: "no",
        artifact=SimpleNamespace(facts={"inputs": [], "outputs": []}),
    )
    assert not check_empty_batch(subject).passed
    assert not check_refusal(subject, "rank").passed
