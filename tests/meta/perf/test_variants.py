"""Variants: made from the exported file, judged by every check, never a pass without being made."""

import pytest

from onnx_conformance.catalog.variants import VARIANTS, register_variant
from onnx_conformance.core.case import Case, DerivedCase
from onnx_conformance.core.errors import UsageError
from onnx_conformance.run.selection import Selection, external_cases, select_cases
from tests.meta.running import ORDINARY, run_suite

pytestmark = pytest.mark.slow

ONE = (
    *ORDINARY,
    "--model=simple_net",
    "--exporter=torch_torchscript",
    "--opset=14",
    "--provider=cpu",
)
PLAIN_ONES = (
    "negated",
    "silent",
    "missing",
    "fp16",
    "fp16_all",
    "claims_more",
    "half_off",
    "half_coarse",
    "half_channel",
)
PLUGIN = ("-p", "tests.meta.plugins.bad_variants")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    wanted = ("ort_basic", "ort_extended", *PLAIN_ONES)
    folder = tmp_path_factory.mktemp("variants")
    chosen = [f"--variant={name}" for name in wanted]
    return run_suite(folder, *PLUGIN, *ONE, *chosen, f"--cache-dir={folder / 'cache'}")


def test_verdicts(run):
    verdicts = {
        case["exporter"].partition("~")[2]: case["verdict"] for case in run.document["cases"]
    }
    assert verdicts == {
        "": "passed",
        "ort_basic": "passed",
        "ort_extended": "passed",
        "negated": "failed",
        "silent": "failed",
        "missing": "skipped",
        "fp16": "passed",
        "fp16_all": "passed",
        "claims_more": "failed",
        "half_off": "failed",
        "half_coarse": "failed",
        "half_channel": "failed",
    }


@pytest.mark.parametrize(
    "message",
    [
        "the variant wrote no file",
        "no_such_module is not installed: pip install no_such_module",
        "1 of 4 native weights are not intact",
        "--variant negated",
    ],
)
def test_what_is_reported(run, message):
    assert message in run.text


def test_the_file_is_the_variant_and_not_its_source(run):
    digests = [case["artifact_sha256"] for case in run.document["cases"]]
    known = [digest for digest in digests if digest]
    assert len(known) == 10
    assert len(set(known)) == 8  # nothing that fp16 blocks is in this model


def test_a_class_is_proved_by_its_own_checks(run):
    cases = {case["exporter"].partition("~")[2]: case for case in run.document["cases"]}
    half = {row["name"] for row in cases["fp16"]["checks"]}
    assert cases["fp16"]["complete"]
    required_tests = {
        "initializers",
        "error_budget",
        "top5",
        "batch_invariance",
        "nonfinite",
        "canary",
    }
    assert required_tests <= half
    assert not half & {"denormals", "allclose"}
    reasons = [row["reason"] for row in cases["fp16"]["checks"] if row["name"] == "error_budget"]
    assert all("x the float16 noise floor" in reason for reason in reasons)


def test_what_float16_errs_by_itself_hides_no_wrong_weight(run):
    cases = {case["exporter"].partition("~")[2]: case for case in run.document["cases"]}
    rows = cases["half_channel"]["checks"]
    red = {row["name"]: row["reason"] for row in rows if row["outcome"] == "failed"}
    assert red == {"initializers": "1 of 4 native weights are not intact"}


def test_an_external_file_in_half_precision_says_how_to_be_judged(run, tmp_path):
    [path] = [c["artifact"] for c in run.document["cases"] if c["exporter"].endswith("~fp16")]
    arguments = ("--model=simple_net", "--provider=cpu", "--opset=14", f"--artifact={path}")
    ran = run_suite(tmp_path, "tests/test_structure.py", *arguments, "-k", "initializers")
    assert ran.status == 1
    assert "4 are rounded to float16; if the file is meant to be in half" in ran.text


@pytest.mark.parametrize("precision", ["int4", "tf32"])  # tf32 is no class of a file
def test_an_unknown_precision_is_reported(precision):
    message = f"has precision '{precision}', for which there is no budget"
    with pytest.raises(UsageError, match=message):
        register_variant("tiny", story="of no class", precision=precision)(print)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--variant=nope",), "unknown variant 'nope'; known:"),
        (("--variant=ort_basic", "--artifact=README.md"), "--artifact is judged as it is"),
    ],
)
def test_bad_input_is_reported(tmp_path, options, message):
    ran = run_suite(tmp_path, *ONE, *options)
    assert ran.status == 4
    assert message in ran.text


def test_options_that_are_no_default_are_not_varied():
    cases = select_cases(Selection(("keras_sequential",), variants=("ort_basic",)))
    varied = [case for case in cases if isinstance(case, DerivedCase)]
    assert varied
    assert not any(case.options.suffix for case in varied)


def test_without_a_variant_none_is_made():
    assert not any(isinstance(case, DerivedCase) for case in select_cases(Selection()))


def test_ids_tell_variants_apart():
    case = Case("m", "torch_dynamo", 18, "cpu").derived("onnxslim")
    assert case.id == "m-torch_dynamo~onnxslim-opset18-cpu"
    for one in (case, case.exported, case.external("/x.onnx", "x")):
        assert Case.from_row(one.as_row()) == one


def test_every_variant_says_what_it_does():
    assert all(variant.story for variant in VARIANTS.values())


def test_a_variant_is_registered_once():
    with pytest.raises(UsageError, match="registered twice"):
        VARIANTS.register("ort_basic", VARIANTS["ort_basic"])


@pytest.mark.parametrize(
    ("said", "provider", "precision", "narrow"),
    [
        ("", "cpu", "float32", ""),
        ("float16", "cpu", "float16", "float16"),
        ("", "openvino_cpu_fp16", "float16", ""),
        ("float16", "openvino_bf16", "bfloat16", "float16"),
        ("int8", "cpu", "int8", ""),
    ],
)
def test_a_provider_excuses_no_rounded_weights(tmp_path, said, provider, precision, narrow):
    (tmp_path / "m.onnx").write_bytes(b"not opened")
    [case] = external_cases(
        Selection(
            ("simple_net",), providers=(provider,), artifacts=(str(tmp_path),), precision=said
        )
    )
    assert (case.precision, case.narrow_weights) == (precision, narrow)


def test_a_variants_class_is_its_files():
    cases = select_cases(
        Selection(("simple_net",), ("torch_dynamo",), (18,), ("tensorrt_fp16",), variants=("fp16",))
    )
    assert [(case.precision, case.narrow_weights) for case in cases] == [
        ("float16", ""),
        ("float16", "float16"),
    ]
