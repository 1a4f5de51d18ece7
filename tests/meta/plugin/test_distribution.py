"""Under pytest-xdist what shares work stays in one worker, and what they measured is added up."""

from dataclasses import replace
from types import SimpleNamespace

import execnet
import pytest

from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.core.case import Case
from onnx_conformance.core.registry import registering
from onnx_conformance.plugin import distribution
from onnx_conformance.plugin.collection import (
    WHOLE_MODELS,
    limit_processes,
    plan_in_worker,
    pytest_xdist_make_scheduler,
)
from onnx_conformance.plugin.collector import MEASURED_TIME, Collector
from onnx_conformance.plugin.distribution import ConformanceScheduling, groups, scope_of
from onnx_conformance.plugin.registration import (
    SHARED_RECORDS,
    RegisteredNames,
    adopt_records,
    shared_records,
)
from onnx_conformance.plugin.state import RUN, RUN_WORKERS, UNPLANNED_CASES
from onnx_conformance.run import user_models
from onnx_conformance.run.clock import STAGES, Clock
from tests.meta.running import judged_of, run_suite

pytestmark = pytest.mark.slow

NETS = tuple(Case("net", route, 18, "cpu") for route in ("torch_dynamo", "torch_torchscript"))
OTHER = Case("net-large", "torch_dynamo", 18, "cpu")
FUNCTION = "tests/test_function.py"


def id_of(case, tail="", test="test_pinned_inputs"):
    return f"{FUNCTION}::{test}[{case.id}{tail}]"


@pytest.mark.parametrize("tail", ["", "-zeros"])
def test_the_cases_of_a_model_go_to_one_worker(tail):
    known = groups([*NETS, OTHER], workers=2)
    assert {scope_of(id_of(case, tail), known) for case in NETS} == {"net"}
    assert scope_of(id_of(OTHER, tail), known) == "net-large"


def test_a_case_that_a_test_brought_goes_with_its_model():
    known = groups([*NETS, OTHER], workers=2)
    option = "net-torch_dynamo+no_folding-opset18-cpu"
    assert scope_of(f"tests/test_export_options.py::test_folding[{option}]", known) == "net"


def test_with_fewer_models_than_workers_each_case_goes_to_one():
    known = groups(NETS, workers=2)
    assert {scope_of(id_of(case, "-zeros"), known) for case in NETS} == {c.id for c in NETS}


@pytest.mark.parametrize("workers", [1, 9])
@pytest.mark.parametrize("name", ["test_other", "test_other[network]", "TestOther::test_one"])
def test_other_tests_go_by_file(workers, name):
    assert scope_of(f"tests/other.py::{name}", groups(NETS, workers)) == "tests/other.py"


def scheduling_of(workers, tests, cases=(*NETS, OTHER)):
    """What the hook makes for ``-n N``, with every worker's collection."""
    config = SimpleNamespace(
        getvalue=lambda name: ["popen"] * len(workers),
        option=SimpleNamespace(loadscopereorder=True),
    )
    scheduling = ConformanceScheduling(config, None, cases)
    for worker in workers:
        scheduling.add_node(worker)
        scheduling.add_node_collection(worker, tests)
    scheduling.schedule()
    return scheduling


class Worker:
    """What the scheduling needs of a worker; ``asked`` are the tests that it was sent."""

    shutting_down = False

    def __init__(self, name, tests):
        self.gateway = SimpleNamespace(id=name)
        self.tests, self.asked, self.ended = tests, [], []

    def send_runtest_some(self, places):
        self.asked += [self.tests[place] for place in places]

    def shutdown(self):
        self.shutting_down = True


def test_the_test_that_ended_its_worker_is_not_run_again_and_the_others_are():
    tests = [id_of(case, tail) for case in (*NETS, OTHER) for tail in ("-ones", "-zeros")]
    workers = [Worker(name, tests) for name in ("first", "second")]
    scheduling = scheduling_of(workers, tests)
    assert [len(worker.asked) for worker in workers] == [4, 2]  # a model for each
    first = workers[0]
    scheduling.mark_test_complete(first, tests.index(first.asked[0]))
    assert scheduling.remove_node(first) == first.asked[1]
    scheduling.add_node(new := Worker("new", tests))
    scheduling.add_node_collection(new, tests)
    scheduling.schedule()
    assert {*new.asked, *workers[1].asked} == {*first.asked[2:], *workers[1].asked}
    assert first.asked[1] not in (*new.asked, *workers[1].asked)
    assert scheduling.remove_node(new) == first.asked[2]


def test_where_there_is_no_conformance_test_they_go_one_by_one():
    tests = [f"tests/own.py::test_{number}" for number in range(8)]
    workers = [Worker(name, tests) for name in ("first", "second")]
    scheduling_of(workers, tests)
    assert all(worker.asked for worker in workers)
    beside = [*tests, id_of(OTHER)]
    workers = [Worker(name, beside) for name in ("first", "second")]
    scheduling_of(workers, beside)
    assert [worker.asked for worker in workers] == [tests, [id_of(OTHER)]]


def scheduled(monkeypatch, names):
    """Two workers, with a model for each name, whose first letter is its framework; the tests."""
    cases = [Case(name, "route", 18, "cpu") for name in names]
    of = {name: "torch" if name[0] == "t" else "keras" for case in cases for name in ids(case)}
    monkeypatch.setattr(distribution, "frameworks", lambda _: of)
    tests = [id_of(case, tail) for case in cases for tail in ("-a", "-b", "-c")]
    workers = [Worker(name, tests) for name in ("first", "second")]
    return scheduling_of(workers, tests, cases), workers, tests


def finish(scheduling, worker, tests):
    """All tests that a worker was asked for end."""
    for test in worker.asked[len(worker.ended) :]:
        worker.ended.append(test)
        scheduling.mark_test_complete(worker, tests.index(test))


def kinds_of(worker):
    return {test.partition("[")[2][0] for test in worker.asked}


def test_a_worker_goes_on_with_the_framework_that_it_has_begun(monkeypatch):
    scheduling, workers, tests = scheduled(monkeypatch, ("t1", "t2", "k1", "t3", "k2"))
    while any(scheduling.workqueue):
        for worker in workers:
            finish(scheduling, worker, tests)
    assert [kinds_of(worker) for worker in workers] == [{"t"}, {"k"}]
    assert sorted(workers[0].asked + workers[1].asked) == sorted(tests)


def test_a_worker_ends_rather_than_begin_anothers_framework_for_a_single_group(monkeypatch):
    scheduling, (torch, keras), tests = scheduled(monkeypatch, ("t1", "k1", "t2"))
    finish(scheduling, keras, tests)
    assert (kinds_of(keras), keras.shutting_down) == ({"k"}, True)
    assert not torch.shutting_down
    finish(scheduling, torch, tests)
    assert sorted(torch.asked + keras.asked) == sorted(tests)


def test_a_worker_begins_anothers_framework_for_several_groups(monkeypatch):
    scheduling, (torch, keras), tests = scheduled(monkeypatch, ("t1", "k1", "t2", "t3"))
    finish(scheduling, keras, tests)
    assert kinds_of(keras) == {"k", "t"}
    finish(scheduling, torch, tests)
    assert sorted(torch.asked + keras.asked) == sorted(tests)


def test_the_last_group_of_a_worker_that_is_gone_is_taken_by_another(monkeypatch):
    scheduling, (torch, keras), tests = scheduled(monkeypatch, ("t1", "k1", "t2"))
    crashed = scheduling.remove_node(torch)
    while scheduling.workqueue:
        finish(scheduling, keras, tests)
    assert {*keras.asked, crashed} >= {test for test in tests if "[t" in test}


def ids(case):
    return case.model, case.id


def test_a_worker_registers_what_the_run_has_looked_at_and_looks_at_nothing():
    spec = replace(resolve_model("simple_net"), name="theirs", fingerprint="of its code")
    records = RegisteredNames((), ("theirs",), {"other": "it cannot be built"})
    _, take_back = registering(lambda: MODELS.register("theirs", spec), MODELS)
    user_models.remember("theirs", [__file__])
    shared = execnet.loads(execnet.dumps(shared_records(records)))
    take_back()
    assert "theirs" not in MODELS
    config = SimpleNamespace(workerinput={SHARED_RECORDS: shared})  # which has no option to look at
    found, take_back = registering(lambda: adopt_records(config), MODELS)
    assert (found, MODELS["theirs"]) == (records, spec)
    take_back()


@pytest.mark.parametrize(
    ("dist", "distload", "tx", "ours"),
    [
        ("no", False, [], True),
        ("no", True, [], False),
        ("load", False, [], False),
        ("no", True, ["2*popen"], True),
        ("load", False, ["2*popen"], True),
    ],
)
def test_who_names_a_distribution_gets_it(dist, distload, tx, ours):
    """``--tx`` takes one that is named: ``-d``."""
    config = SimpleNamespace(
        known_args_namespace=SimpleNamespace(dist=dist, distload=distload, tx=tx, numprocesses=0),
        getvalue=lambda name: "load" if name == "dist" else ["popen"],
        option=SimpleNamespace(loadscopereorder=True),
        stash={RUN: SimpleNamespace(cases=NETS)},
    )
    assert (pytest_xdist_make_scheduler(config, None) is not None) is ours


@pytest.mark.parametrize(
    ("dist", "cases", "started"),
    [("no", [*NETS, OTHER], 3), ("no", [OTHER], 1), ("no", [], 1), ("loadfile", [OTHER], 4)],
)
def test_no_more_processes_are_started_than_there_are_cases(dist, cases, started):
    options = {"dist": "load" if dist == "no" else dist, "numprocesses": 4, "tx": ["popen"] * 4}
    config = SimpleNamespace(
        known_args_namespace=SimpleNamespace(dist=dist, distload=False, tx=[], numprocesses=4),
        getvalue=options.get,
        getoption=options.get,
        option=SimpleNamespace(**options),
        stash={RUN: SimpleNamespace(cases=cases, shard=None)},
    )
    limit_processes(config)
    assert len(config.option.tx) == started


@pytest.mark.parametrize(("whole", "first"), [(True, [*NETS]), (False, [NETS[0]])])
def test_a_worker_plans_all_cases_that_it_will_get(whole, first):
    planned = []
    bench = SimpleNamespace(plan=lambda needs: planned.append([*needs]))
    stash = {UNPLANNED_CASES: {case: {"pinned"} for case in (*NETS, OTHER)}, RUN_WORKERS: bench}
    config = SimpleNamespace(stash=stash, workerinput={WHOLE_MODELS: whole})
    plan_in_worker(config, NETS[0])
    assert planned == [first]
    for case in (*NETS, OTHER):  # each once
        plan_in_worker(config, case)
    assert sum(planned, []) == [*NETS, OTHER]


def measured(worker, waited, rest):
    """What the clock of a process that did nothing but import would say."""
    zero = dict.fromkeys(STAGES, 0.0)
    return {
        "wall": waited + rest,
        "engine": {**zero, "import": worker},
        "waited": {**zero, "import": waited},
        "rest": rest,
        "jobs": {"torch": {"import": worker}, "net": {"oracle": 1.0}},
    }


def test_what_workers_measured_is_added_up():
    clock = Clock()
    collector = Collector(SimpleNamespace(), SimpleNamespace(), clock)
    for table in (measured(3.0, 2.0, 5.0), measured(4.0, 1.0, 6.0)):
        collector.pytest_testnodedown(SimpleNamespace(workeroutput={MEASURED_TIME: table}))
    collector.pytest_testnodedown(SimpleNamespace())  # it died
    table = clock.table()
    assert (table["engine"]["import"], table["waited"]["import"]) == (7.0, 3.0)
    assert (table["rest"], table["processes"]) == (11.0, 2)
    assert table["jobs"] == {"torch": {"import": 4.0}, "net": {"oracle": 2.0}}
    assert table["wall"] < 1.0  # that of this process alone


def test_without_workers_the_rest_is_of_this_process():
    table = Clock().table()
    assert table["processes"] == 1
    assert table["rest"] == table["wall"]


def test_two_workers_judge_bit_for_bit_what_one_process_does_and_tell_the_time(tmp_path):
    """Cold, with a case for each of them: both need the same oracle."""
    asked = ("--model=simple_net", "--exporter=torch_torchscript", "--provider=cpu")
    cache = f"--cache-dir={tmp_path / 'cache'}"
    run = run_suite(tmp_path, FUNCTION, *asked, "-n3", cache)  # one more than there are cases
    assert run.status == 5, run.text  # a part of the checks is no verdict
    time = run.document["time"]
    assert time["processes"] == 2
    assert all(time["engine"][stage] > 0.0 for stage in ("export", "oracle", "runtime"))
    assert {"oracle", "build"} <= {*time["jobs"]["simple_net"]}
    assert "in 2 processes" in run.text
    (tmp_path / "alone").mkdir()
    alone = run_suite(tmp_path / "alone", FUNCTION, *asked, cache)
    assert judged_of(run.document) == judged_of(alone.document)
    assert run.document["totals"] == alone.document["totals"]
