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
from onnx_conformance.session.cache_keys import model_key, outputs_key
from onnx_conformance.session.conformance_session import ConformanceSession
from onnx_conformance.session.selection import Selection, select_cases
from onnx_conformance.session.worker_queue import Clock
from tests.meta.running import judged_of, run_suite
from tests.meta.small_files import write_models, write_product

pytestmark = pytest.mark.slow

CASES = select_cases(Selection(models=("simple_net",), providers=("cpu",)))
FAMILY_NAMES = {"pinned", "drawn", "batches"}
TESTS = ("tests/test_structure.py", "tests/test_function.py", "tests/test_robustness.py")


@pytest.fixture(scope="module")
def bench_on():
    """Sessions on a store, closed at the end."""
    made = []

    def make(folder):
        made.append(ConformanceSession(Settings(), Store(folder), Clock()))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture(scope="module")
def filled(bench_on, input_sets, tmp_path_factory):
    """A session that judged all cases, and the folder of its store."""
    folder = tmp_path_factory.mktemp("filled")
    bench = bench_on(folder)
    judge_all(bench, input_sets)
    return bench, folder


@pytest.fixture(scope="module")
def input_sets():
    model = resolve_model("simple_net")
    plans = [FAMILIES[name](model, 0) for name in FAMILY_NAMES]
    return list({inputs.digest: inputs for plan in plans for inputs in plan.reference}.values())


def judge_all(bench, input_sets):
    bench.plan({case: FAMILY_NAMES for case in CASES})
    model = resolve_model("simple_net")
    for case in CASES:
        for inputs in input_sets:
            bench.reference(model, inputs)
            bench.answers(case, [inputs])


def test_every_exporter_and_opset_shares_one_oracle(filled, input_sets):
    assert len(CASES) == 4
    assert filled[0].oracle_runs == len(input_sets)


def test_a_second_session_computes_no_oracle(filled, bench_on, input_sets):
    second = bench_on(filled[1])
    judge_all(second, input_sets)
    assert second.oracle_runs == 0


def test_of_two_sessions_at_once_one_computes_the_oracle(bench_on, input_sets, tmp_path):
    """As two workers of pytest-xdist are, on one cache."""
    both, model = [bench_on(tmp_path), bench_on(tmp_path)], resolve_model("simple_net")
    for bench in both:
        bench.plan({CASES[0]: FAMILY_NAMES})
    first, second = ([bench.reference(model, inputs) for inputs in input_sets] for bench in both)
    assert sum(bench.oracle_runs for bench in both) == len(input_sets)
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
