"""What cases share is computed once: models, artifacts and, above all, oracles."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import onnx_conformance
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.inputs.families import FAMILIES
from onnx_conformance.run.cache_keys import model_key, outputs_key
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.selection import Selection, select_cases
from tests.meta.running import judged_of, run_suite
from tests.meta.small_files import write_models, write_product

pytestmark = pytest.mark.slow

CASES = select_cases(Selection(models=("simple_net",), providers=("cpu",)))
FAMILY_NAMES = {"pinned", "drawn", "batches"}
TESTS = ("tests/test_structure.py", "tests/test_function.py", "tests/test_robustness.py")


@pytest.fixture(scope="module")
def workers_on():
    """Workers on a store, closed at the end."""
    made = []

    def make(folder):
        made.append(RunWorkers(Settings(), Store(folder), Clock()))
        return made[-1]

    yield make
    for workers in made:
        workers.close()


@pytest.fixture(scope="module")
def filled(workers_on, input_sets, tmp_path_factory):
    """Workers that judged all cases, and the folder of its store."""
    folder = tmp_path_factory.mktemp("filled")
    workers = workers_on(folder)
    judge_all(workers, input_sets)
    return workers, folder


@pytest.fixture(scope="module")
def input_sets():
    model = resolve_model("simple_net")
    plans = [FAMILIES[name](model, 0) for name in FAMILY_NAMES]
    return list({inputs.digest: inputs for plan in plans for inputs in plan.reference}.values())


def judge_all(workers, input_sets):
    workers.plan({case: FAMILY_NAMES for case in CASES})
    model = resolve_model("simple_net")
    for case in CASES:
        for inputs in input_sets:
            workers.reference(model, inputs)
            workers.answers(case, [inputs])


def test_every_exporter_and_opset_shares_one_oracle(filled, input_sets):
    assert len(CASES) == 4
    assert filled[0].oracle_runs == len(input_sets)


def test_a_second_session_computes_no_oracle(filled, workers_on, input_sets):
    second = workers_on(filled[1])
    judge_all(second, input_sets)
    assert second.oracle_runs == 0


def test_of_two_sessions_at_once_one_computes_the_oracle(workers_on, input_sets, tmp_path):
    """As two workers of pytest-xdist are, on one cache."""
    both, model = [workers_on(tmp_path), workers_on(tmp_path)], resolve_model("simple_net")
    for workers in both:
        workers.plan({CASES[0]: FAMILY_NAMES})
    first, second = (
        [workers.reference(model, inputs) for inputs in input_sets] for workers in both
    )
    assert sum(workers.oracle_runs for workers in both) == len(input_sets)
    for one, other in zip(first, second, strict=True):
        assert all((one.oracle[name] == other.oracle[name]).all() for name in one.oracle)


def test_models_that_differ_in_their_arguments_share_no_oracle():
    spec = resolve_model("resnet18")
    other = replace(spec, arguments=("resnet34",))
    keys = {
        outputs_key(
            model_key(model, Settings()), "same weights", "same inputs", ("float64",), 1, {}
        )
        for model in (spec, other)
    }
    assert len(keys) == 2


def test_our_fixtures_package_is_the_one_imported(pytestconfig):
    """Another distribution installs a package of that name."""
    assert onnx_conformance.__file__ == str(
        pytestconfig.rootpath / "onnx_conformance" / "__init__.py"
    )


def test_two_runs_at_once_on_one_cache_build_each_entry_once_and_lose_none(tmp_path, monkeypatch):
    built = tmp_path / "built"
    monkeypatch.setenv("BUILT_ENTRIES", str(built))
    file = write_product(tmp_path / "a.onnx")
    words = [f"--models-from={write_models(tmp_path / 'models.py')}", "--model=product"]
    words += [f"--artifact={file}", "--provider=cpu", f"--cache-dir={tmp_path / 'cache'}"]
    folders = [tmp_path / "first", tmp_path / "second"]

    def run(folder):
        folder.mkdir()
        return run_suite(folder, *TESTS, *words, plugin="built_entries")

    with ThreadPoolExecutor() as pool:
        runs = [*pool.map(run, folders)]
    assert {run.status for run in runs} == {0}, runs[0].text
    first, second = (judged_of(run.document) for run in runs)
    assert first == second
    entries = Counter(line.partition(" ")[2] for line in built.read_text().splitlines())
    assert {entry.partition("/")[0] for entry in entries} >= {"models", "outputs"}
    assert set(entries.values()) == {1}
