"""What is computed ahead, and when: at the start, when a worker begins a case, beside a GPU."""

from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.plugin import collection, outcome
from onnx_conformance.plugin.state import RED_CASES, RUN
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.noise_floor import FLOAT32_NOISE_FLOOR, NoiseFloor
from onnx_conformance.run.probe import ProbeResult
from onnx_conformance.run.run_workers import RunWorkers

TF32 = NoiseFloor("tf32", "cuda")
ON_GPU = Case("simple_net", "torch_torchscript", 14, "cuda_tf32", precision="tf32")


@pytest.fixture
def workers(tmp_path, monkeypatch):
    made = RunWorkers(Settings(), Store(tmp_path), Clock())
    monkeypatch.setattr(made._native, "artifact", lambda case: Future())
    yield made
    made.close()


@pytest.mark.parametrize(
    ("works", "wanted"), [(True, {FLOAT32_NOISE_FLOOR, TF32}), (False, {FLOAT32_NOISE_FLOOR})]
)
def test_a_gpus_noise_floor_is_planned_where_its_provider_works(
    workers, monkeypatch, works, wanted
):
    submitted, probed = {}, Future()
    probed.set_result(ProbeResult(works, "as it is"))
    monkeypatch.setattr(workers._runtime, "probe", lambda provider: probed)
    monkeypatch.setattr(
        workers._answers,
        "submit_references",
        lambda model, input_sets, noise_floor: submitted.setdefault(noise_floor, []).extend(
            [len(input_sets)] if input_sets else []
        ),
    )
    workers.plan({ON_GPU: {"pinned", "repeat"}})
    assert set(submitted) == wanted
    assert {len(times) for times in submitted.values()} == {1}  # all inputs together
    assert len({tuple(times) for times in submitted.values()}) == 1


def test_inputs_that_native_refuses_spoil_no_others(workers, monkeypatch):
    answers, refusal = workers._answers, StageFailure("native", "net (float32)", "no", "traceback")
    taken, refused = Inputs(x=np.zeros(1)), Inputs(x=np.ones(1))

    def references(native, input_sets, noise_floor):
        if refused in input_sets:
            raise StageFailure("oracle", "net (float64)", "no")
        return [Reference({}, {}, ()) for _ in input_sets]

    def submit(model, work):
        done = Future()
        done.set_result(work(None))
        return done

    monkeypatch.setattr(answers, "_submit", submit)
    monkeypatch.setattr(answers, "_references", references)
    monkeypatch.setattr(answers, "_attempt", lambda _, one: refusal if one == refused else None)
    model = MODELS["simple_net"]
    assert workers.references(model, [taken, refused])[1] == "no"
    assert isinstance(workers.reference(model, taken), Reference)
    with pytest.raises(StageFailure, match="no") as failure:
        workers.reference(model, refused)
    assert failure.value.details == "traceback"


# -- when it is planned ----------------------------------------------------------------------------

CASES = tuple(Case("simple_net", "torch_torchscript", opset, "cpu") for opset in (14, 23))


class Session:
    """A collected session of two checks a case, and what is planned in it."""

    def __init__(self, monkeypatch, **of_config):
        self.planned = []
        workers = SimpleNamespace(
            plan=self.planned.append, probe=lambda provider: ProbeResult(True, "it works")
        )
        for module in (collection, outcome):
            monkeypatch.setattr(module, "run_workers", lambda config: workers)
        monkeypatch.setattr(
            collection, "collector_of", lambda config: SimpleNamespace(begin=lambda counts: None)
        )
        run = SimpleNamespace(settings=Settings(), frameworks=(), temporary_cache=True)
        stash = {RUN: run, RED_CASES: {}}
        option = SimpleNamespace(collectonly=False)
        self.config = SimpleNamespace(stash=stash, option=option, **of_config)
        self.items = [
            self._item(case, check) for case in CASES for check in ("liveness", "determinism")
        ]
        collection.pytest_collection_finish(self)

    def _item(self, case, check):
        mark = pytest.mark.check(check).mark
        return SimpleNamespace(
            config=self.config,
            callspec=SimpleNamespace(params={"subject": case}),
            get_closest_marker={"check": mark}.get,
        )

    def start(self, place):
        outcome.pytest_runtest_setup(self.items[place])


def test_one_process_plans_all_cases_before_the_first_test(monkeypatch):
    session = Session(monkeypatch)
    assert session.planned == [{case: {"pinned", "repeat"} for case in CASES}]
    session.start(0)
    assert len(session.planned) == 1


def test_a_worker_plans_a_whole_case_when_its_first_test_starts(monkeypatch):
    """Each worker collects every test and is given some."""
    session = Session(monkeypatch, workerinput={collection.WHOLE_MODELS: False})
    assert session.planned == []
    session.start(3)
    session.start(2)
    assert session.planned == [{CASES[1]: {"pinned", "repeat"}}]
    session.start(0)
    assert session.planned[1:] == [{CASES[0]: {"pinned", "repeat"}}]
