"""A certificate: every required check was passed, by this file, these rules and this code."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.catalog.providers import CPU, PROVIDERS
from onnx_conformance.checks import certificate as certifying
from onnx_conformance.checks import registry
from onnx_conformance.checks.certificate import (
    BUDGET,
    basis_of,
    holds_certificate,
    issue_certificate,
)
from onnx_conformance.checks.evidence import ConformanceFailure
from onnx_conformance.checks.registry import CHECKS, Check
from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import FileFacts
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.run import cache_keys
from onnx_conformance.run.answers_client import ANSWERS
from onnx_conformance.run.known_failures import KnownFailure, load_known_failures
from onnx_conformance.run.recorded_answers import FILES
from onnx_conformance.run.subject import Artifact

CASE = Case("simple_net", "torch_torchscript", 14, "cpu")
TOL = load_tolerances(TOLERANCES)


BEYOND = "refusal"  # no deployed model is fed so, and a finding is red
EDGE = "nonfinite"


class Checks:
    """Checks whose outcomes are given, and how often each was run."""

    def __init__(self, **outcomes):
        self.ran = []
        self.outcomes = {BUDGET: "passed", "checker": "passed", **outcomes}

    def run(self, name):
        def check(subject, *arguments, **named):
            self.ran.append(name)
            outcome = self.outcomes[name]
            compared = 3 if outcome == "passed" else 0
            return CheckResult(name, outcome, "it is wrong here", compared, score=0.5)

        return check

    def registered(self):
        return {
            name: Check(name, self.run(name), "none", malformed=name in (BEYOND, EDGE))
            for name in self.outcomes
        }


@pytest.fixture
def checks(monkeypatch):
    def use(**outcomes):
        made = Checks(**outcomes)
        monkeypatch.setattr(registry, "CHECKS", made.registered())
        return made

    return use


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def subject(case=CASE, sha256="0" * 64, tolerances=TOL):
    facts = cast("FileFacts", {})
    artifact = Artifact(Path("model.onnx"), (Path("model.onnx"),), (sha256,), facts)
    return SimpleNamespace(
        case=case,
        model=resolve_model(case.model),
        artifact=artifact,
        tolerances=tolerances,
        seed=0,
    )


def judge(store, *, about=None, settings=None, known=()):
    return issue_certificate(about or subject(), settings or Settings(), store, known)


def test_other_recorded_answers_are_another_basis(tmp_path, monkeypatch):
    for name in FILES:
        (tmp_path / name).write_bytes(b"right")
    monkeypatch.setitem(PROVIDERS._records, "phone", replace(CPU, host=f"{ANSWERS}{tmp_path}"))
    case = replace(CASE, provider="phone")
    bases = []
    for content in (b"right", b"wrong"):
        (tmp_path / FILES[-1]).write_bytes(content)
        bases.append(basis_of(case, resolve_model(case.model), TOL, Settings(), ()))
    assert bases[0] != bases[1]
    assert {**bases[0], "answers": None} == {**bases[1], "answers": None}


def test_a_pass_is_cached(checks, store):
    made = checks()
    first = judge(store)
    ran = len(made.ran)
    assert first.proof
    assert first.score == 0.5
    assert first.checks == ran
    assert first.compared == 3 * ran
    assert holds_certificate(subject(), Settings(), store, ())
    assert judge(store) == first
    assert len(made.ran) == ran


def test_every_check_that_is_required_is_run(monkeypatch, store):
    registered = list(CHECKS.values())
    required_tests = [
        check.name for check in registered if check.required_tests(resolve_model(CASE.model), CASE)
    ]
    made = Checks(**dict.fromkeys((check.name for check in registered), "passed"))
    fakes = {c.name: replace(c, function=made.run(c.name)) for c in registered}
    monkeypatch.setattr(registry, "CHECKS", fakes)
    judge(store)
    assert set(made.ran) == set(required_tests)
    assert made.ran.count(BUDGET) > 1  # on every pinned inputs


@pytest.mark.parametrize("name", [BUDGET, "checker"])
def test_a_red_check_raises_and_is_not_cached(checks, store, name):
    made = checks(**{name: "failed"})
    with pytest.raises(ConformanceFailure, match="it is wrong here"):
        judge(store)
    assert not holds_certificate(subject(), Settings(), store, ())
    before = len(made.ran)
    with pytest.raises(ConformanceFailure):
        judge(store)
    assert len(made.ran) > before
    made.outcomes[name] = "passed"
    assert judge(store).proof


def test_a_pass_that_compared_nothing_is_red(checks, store, monkeypatch):
    checks()
    empty = Check("checker", lambda subject: CheckResult("checker", "passed", "nothing", 0), "none")
    monkeypatch.setattr(registry, "CHECKS", {"checker": empty})
    with pytest.raises(ConformanceFailure):
        judge(store)


def test_no_check_is_no_proof(store, monkeypatch):
    monkeypatch.setattr(registry, "CHECKS", {})
    assert not judge(store).proof


def test_only_skips_are_no_proof(checks, store):
    checks(**{BUDGET: "skipped", "checker": "skipped"})
    assert not judge(store).proof


def test_a_check_that_looked_and_cannot_tell_forbids_a_certificate(checks, store, monkeypatch):
    made = checks()
    result = CheckResult("checker", "skipped", "too few samples", compared=5)
    registered = {**made.registered(), "checker": Check("checker", lambda subject: result, "none")}
    monkeypatch.setattr(registry, "CHECKS", registered)
    found = judge(store)
    assert not found.may_be_timed
    assert found.known == ("checker: too few samples",)


def known_failure(tmp_path, says, check="checker"):
    path = tmp_path / "known.yaml"
    path.write_text(
        f"- cases: 'simple_net-*'\n  check: {check}\n  says: {says}\n"
        "  reason: it was once wrong here\n  link: https://example.org/1\n  versions: {}\n"
    )
    (known,) = load_known_failures(path, CHECKS)
    assert isinstance(known, KnownFailure)
    return (known,)


def test_a_known_failure_is_no_proof_and_is_named(checks, store, tmp_path):
    checks(checker="failed")
    found = judge(store, known=known_failure(tmp_path, "it is wrong here"))
    assert not found.proof
    assert not found.may_be_timed
    assert "it was once wrong here" in found.known[0]


def test_what_is_known_beyond_ordinary_inputs_does_not_pass_and_may_be_timed(
    checks, store, tmp_path
):
    checks(**{BEYOND: "failed"})
    found = judge(store, known=known_failure(tmp_path, "it is wrong here", BEYOND))
    assert not found.proof
    assert found.may_be_timed
    assert "known failure on edge cases: it was once wrong here" in str(found)
    assert judge(store, known=known_failure(tmp_path, "it is wrong here", BEYOND)) == found


def test_what_fails_beyond_ordinary_inputs_and_is_not_known_is_red(checks, store):
    checks(**{BEYOND: "failed"})
    with pytest.raises(ConformanceFailure):
        judge(store)


def test_an_edge_finding_is_reported_and_forbids_nothing(checks, store):
    checks(**{EDGE: "failed"})
    found = judge(store)
    assert found.proof
    assert found.edge == ("nonfinite: it is wrong here",)
    assert "edge finding in nonfinite: it is wrong here" in str(found)
    assert judge(store) == found


def test_an_edge_finding_is_red_where_that_is_asked_for(checks, store):
    checks(**{EDGE: "failed"})
    assert judge(store).proof
    with pytest.raises(ConformanceFailure):
        judge(store, settings=Settings(edge_cases="fail"))


def test_an_edge_finding_alone_is_no_proof(checks, store, monkeypatch):
    made = checks(**{EDGE: "failed"})
    only = {EDGE: made.registered()[EDGE]}
    monkeypatch.setattr(registry, "CHECKS", only)
    assert not judge(store).proof


def test_a_failure_in_other_words_is_red(checks, store, tmp_path):
    checks(checker="failed")
    with pytest.raises(ConformanceFailure):
        judge(store, known=known_failure(tmp_path, "something else"))


def stricter(tmp_path):
    path = tmp_path / "tolerances.yaml"
    path.write_text(TOLERANCES.read_text() + "# changed\n")
    return load_tolerances(path)


CHANGES = {
    "graph level": {"settings": Settings(graph_level="basic")},
    "seed": {"settings": Settings(seed=1)},
    "threads": {"settings": Settings(threads=2)},
    "weights": {"settings": Settings(weights="default")},
    "least placement": {"settings": Settings(min_placement=0.95)},
    "fallback forbidden": {"settings": Settings(cpu_fallback=False)},
    "file": {"about": subject(sha256="1" * 64)},
    "provider": {"about": subject(replace(CASE, provider="cuda"))},
    "opset": {"about": subject(replace(CASE, opset=15))},
    "precision of a given file": {"about": subject(replace(CASE, precision="float16"))},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_verdict_is_of_what_it_was_judged_by(checks, store, change):
    made = checks()
    judge(store)
    before = len(made.ran)
    judge(store, **CHANGES[change])
    assert len(made.ran) == 2 * before


def test_a_verdict_is_of_the_precision_that_the_environment_says(checks, store, monkeypatch):
    made, on_cuda = checks(), subject(replace(CASE, provider="cuda"))
    judge(store, about=on_cuda)
    before = len(made.ran)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    judge(store, about=on_cuda)
    assert len(made.ran) == 2 * before


def test_a_verdict_is_of_the_kernels_of_a_custom_library(checks, store, tmp_path):
    """They are in no file that is exported; rebuilt, they may compute anything."""
    made, library = checks(), tmp_path / "library.so"
    settings = Settings(custom_op_libraries=(str(library),))
    for build in (b"yesterday's", b"today's"):
        library.write_bytes(build)
        before = len(made.ran)
        judge(store, settings=settings)
        assert len(made.ran) > before


def test_a_verdict_is_of_the_build_in_another_environment(checks, store, monkeypatch):
    """Two builds of one version, one after the other under one label and in one folder."""
    made, there = checks(), subject(replace(CASE, provider="there"))
    for packages in (("onnxruntime 1.24.1",), ("onnxruntime-openvino 1.24.1",)):
        hosted = replace(CPU, name="there", host="popen", runtime="1.24.1", packages=packages)
        monkeypatch.setattr(certifying, "PROVIDERS", {"there": hosted})
        before = len(made.ran)
        judge(store, about=there)
        assert len(made.ran) > before


def test_a_verdict_is_of_its_tolerances(checks, store, tmp_path):
    made = checks()
    judge(store)
    before = len(made.ran)
    judge(store, about=subject(tolerances=stricter(tmp_path)))
    assert len(made.ran) == 2 * before


@pytest.mark.parametrize(
    ("module", "part"), [(cache_keys, "environment"), (certifying, "source_digest")]
)
def test_a_verdict_is_of_its_versions_and_code(checks, store, monkeypatch, module, part):
    made = checks()
    judge(store)
    before = len(made.ran)
    monkeypatch.setattr(module, part, lambda *_: {"onnxruntime": "0.1"})
    judge(store)
    assert len(made.ran) == 2 * before
