"""Runs that compare nothing, or lose what they compared; each in a process of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from onnx_conformance.core.files import TOLERANCES
from studies.sabotage import Suite, whole_run
from tests.meta.running import SuiteRun

STRUCTURE, FUNCTION = "tests/test_structure.py", "tests/test_function.py"
SAMPLES = "tests/meta/samples"
CPU = ("--exporter=torch_torchscript", "--opset=14", "--provider=cpu")
CASE = ("--model=simple_net", *CPU)
DRAWN = (FUNCTION, *CASE, "-k", "drawn")


def tolerances(suite: Suite, old: str, new: str) -> str:
    """An option that names a copy of tolerances.yaml with one text replaced."""
    text = TOLERANCES.read_text()
    assert old in text
    path = suite.folder / "tolerances.yaml"
    path.write_text(text.replace(old, new, 1))
    return f"--tolerances={path}"


# -- nothing was compared ------------------------------------------------------------------------


@whole_run("max_examples=0")
def hypothesis_with_zero_examples(suite: Suite) -> SuiteRun:
    """The profile asks for 0 examples."""
    return suite(*DRAWN, plugin="zero_examples")


@whole_run("0 inputs were generated successfully")
def a_filter_that_rejects_every_example(suite: Suite) -> SuiteRun:
    """The strategy filters out everything that it draws."""
    return suite(*DRAWN, plugin="rejected_examples")


@whole_run("Hypothesis has been told to run no test cases")
def phases_that_generate_no_example(suite: Suite) -> SuiteRun:
    """Hypothesis replays, but has nothing to replay: the test's body never runs."""
    return suite(FUNCTION, *CASE, plugin="no_phases")  # the other tests pass


@whole_run("the test compared nothing, so it cannot pass")
def a_test_body_that_never_ran_its_check(suite: Suite) -> SuiteRun:
    """A test without a check, one that loops over nothing, and one whose check compared nothing."""
    return suite(f"{SAMPLES}/no_evidence.py", *CASE)


@whole_run("the test ignored a check that failed: this is red")
def a_test_that_swallows_its_failure(suite: Suite) -> SuiteRun:
    """The check was red, and the test caught it."""
    return suite(f"{SAMPLES}/swallowed_failure.py", *CASE)


@whole_run("deselected")
def every_case_deselected(suite: Suite) -> SuiteRun:
    """`-k` matches no test."""
    return suite(STRUCTURE, *CASE, "-k", "no_such_test")


@whole_run("1 of 1 case is incomplete: not run or not decided")
def only_the_checks_that_pass(suite: Suite) -> SuiteRun:
    """`-k` keeps the checks that a wrong file passes; everything that was run is green."""
    model = ("--model=simple_net", "--exporter=lying", "--provider=cpu")
    return suite(STRUCTURE, *model, "-k", "checker or interface", plugin="bad_exporters")


@whole_run("Nothing was shown")
def every_case_skipped(suite: Suite) -> SuiteRun:
    """The provider is absent, so every test skips."""
    model = ("--model=simple_net", "--exporter=torch_torchscript", "--opset=14")
    return suite(STRUCTURE, *model, "--provider=absentgpu", plugin="fake_gpus")


@whole_run("--require absentgpu: no case passed every check on it")
def a_required_provider_that_skips(suite: Suite) -> SuiteRun:
    """The provider that matters is absent; another passes, and the run looks green."""
    more = ("--provider=absentgpu", "--require=absentgpu")
    return suite(STRUCTURE, *CASE, *more, plugin="fake_gpus")


@whole_run("Nothing was shown")
def a_report_from_an_earlier_run(suite: Suite) -> SuiteRun:
    """Yesterday's results.json says passed; today's run sets fixtures up and tests nothing."""
    results = suite.folder / "results.json"
    results.write_text('{"run": {"verdict": "passed"}}')
    run = suite(STRUCTURE, *CASE, "--setup-plan")
    assert run.document["run"]["verdict"] == "proved nothing"
    return run


@whole_run("the folder has no .onnx file")
def an_artifact_folder_that_is_empty(suite: Suite) -> SuiteRun:
    """The export step wrote nothing, and the judging step is green over no file."""
    empty = suite.folder / "empty"
    empty.mkdir()
    return suite(STRUCTURE, "--model=simple_net", f"--artifact={empty}")


@whole_run("is not an ONNX model")
def an_artifact_that_is_no_model(suite: Suite) -> SuiteRun:
    """The download saved an error page under the model's name."""
    page = suite.folder / "page.onnx"
    page.write_text("<html>404 not found</html>")
    return suite(STRUCTURE, "--model=simple_net", "--provider=cpu", f"--artifact={page}")


# -- what was compared is not what was asked -----------------------------------------------------


@whole_run("every output has float32 values")
def an_oracle_that_is_secretly_float32(suite: Suite) -> SuiteRun:
    """The float64 clone computes in float32 and casts its answer."""
    cache = f"--cache-dir={suite.folder / 'cache'}"  # oracles in the shared one are right
    return suite(FUNCTION, *CASE, "-k", "liveness", cache, plugin="float32_oracle")


@whole_run("a model that barely depends on its input proves nothing")
def a_registered_model_that_is_not_alive(suite: Suite) -> SuiteRun:
    """A model was registered whose weights let nothing of its input through."""
    return suite(FUNCTION, "--model=dead_net", *CPU, "-k", "liveness", plugin="dead_model")


@whole_run("native weights are not intact")
def an_exporter_that_writes_yesterdays_file(suite: Suite) -> SuiteRun:
    """The route finds a file of the right shape and leaves it as it is."""
    model = ("--model=simple_net", "--exporter=yesterday", "--provider=cpu")
    return suite(STRUCTURE, *model, plugin="yesterday")


@whole_run("asked for opset 14, delivered 23")
def a_cache_entry_under_another_key(suite: Suite) -> SuiteRun:
    """A whole entry, manifest and all, was copied to the key of another opset."""
    filled = suite(STRUCTURE, *CASE, "--opset=23", "-k", "opset")
    entries = {c["opset"]: Path(c["artifact"]).parent for c in filled.document["cases"]}
    cache = suite.folder / "cache"
    shutil.copytree(suite.cache, cache, ignore=shutil.ignore_patterns("*.partial"))
    wrong = cache / entries[14].relative_to(suite.cache)
    shutil.rmtree(wrong)
    shutil.copytree(entries[23], wrong)
    return suite(STRUCTURE, *CASE, f"--cache-dir={cache}")


@whole_run("input 'input' has size 3 at axis 1, expected 6")
def a_Keras_NHWC_model_exported_for_NCHW(suite: Suite) -> SuiteRun:
    """`inputs_as_nchw` was left on: fed the native model's NHWC, the file reads other pixels."""
    model = ("--model=tiny_nhwc", "--exporter=as_nchw", "--provider=cpu")
    return suite(STRUCTURE, *model, "-k", "interface", plugin="keras_layouts")


# -- the judge's own figures and lists -----------------------------------------------------------


@whole_run("[XPASS(strict)] the checker was once wrong here")
def a_stale_known_failure(suite: Suite) -> SuiteRun:
    """The upstream bug is fixed, and its excuse still stands."""
    known = suite.folder / "known.yaml"
    known.write_text(
        "- cases: 'simple_net-*'\n  check: checker\n  says: it was once wrong\n"
        "  reason: the checker was once wrong here\n"
        "  link: https://example.org/1\n  versions: {}\n"
    )
    return suite(STRUCTURE, *CASE, f"--known-failures={known}")


@whole_run("matches every model by every exporter")
def a_known_failure_of_everything(suite: Suite) -> SuiteRun:
    """One entry excuses whatever is wrong with any file."""
    known = suite.folder / "known.yaml"
    known.write_text(
        "- cases: '*'\n  check: error_budget\n  says: differs from native\n"
        "  reason: the exporter is known to be wrong\n"
        "  link: https://example.org/1\n  versions: {}\n"
    )
    model = ("--model=simple_net", "--exporter=lying", "--provider=cpu")
    return suite(FUNCTION, *model, f"--known-failures={known}", plugin="bad_exporters")


OVERRIDE = "overrides:\n- match: {{model: {}}}\n  set: {{factor: 50}}\n  reason: {}"


@whole_run("this override matches no case")
def an_override_that_matches_nothing(suite: Suite) -> SuiteRun:
    """The model that it excused is gone, or its name is misspelt."""
    wrong = OVERRIDE.format("simple_nett", "its kernels round otherwise")
    return suite("tests", "--ignore=tests/meta", tolerances(suite, "overrides: []", wrong))


@whole_run("an override needs a 'reason' of several words")
def a_budget_loosened_without_a_reason(suite: Suite) -> SuiteRun:
    """An override that makes a red row green and says nothing."""
    wrong = OVERRIDE.format("simple_net", "''")
    return suite(STRUCTURE, *CASE, tolerances(suite, "overrides: []", wrong))


@whole_run("'factor' must be a number from 0 to 100, not nan")
def a_tolerance_that_is_NaN(suite: Suite) -> SuiteRun:
    """Nothing is greater than NaN, so nothing would be out of budget."""
    return suite(STRUCTURE, *CASE, tolerances(suite, "factor: 4.0", "factor: .nan"))


@whole_run("'factor' must be a number from 0 to 100, not 1000000000.0")
def a_tolerance_that_allows_anything(suite: Suite) -> SuiteRun:
    """A budget so large that it is none."""
    return suite(STRUCTURE, *CASE, tolerances(suite, "factor: 4.0", "factor: 1.0e+9"))


@whole_run("crashed while running 'tests/test_structure.py::test_opset")
def xdist_loses_a_worker(suite: Suite) -> SuiteRun:
    """A worker is killed in mid-run, with the results that it had not yet sent."""
    return suite(STRUCTURE, *CASE, "-n2", plugin="dying_workers")
