"""tolerances.yaml: valid as shipped, and every slip named by file, line and key."""

from dataclasses import replace

import pytest

from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.tolerances import KEYS, load_tolerances
from tests.meta.running import ROOT

SHIPPED = ROOT / "tolerances.yaml"
CASE = Case("resnet18", "torch_dynamo", 18, "cpu")
GOOD = """\
schema: 1
defaults:
  error_budget:
    factor: 4.0
    maximum_noise_floor: 0.1
    ordinary_scale: 10.0
    constant_share: 0.9
    floor_ulp: 2.0
  liveness:
    dead_share: 0.1
    moving_share: 0.1
    missing_share: 0.5
    coarse_minimum: 50.0
    minimum: 1000.0
  allclose:
    rtol: 1.0e-3
    atol_rms: 1.0e-3
  tutorial:
    rtol: 1.0e-5
    atol: 1.0e-5
  batch_invariance:
    factor: 4.0
    floor_ulp: 2.0
  sweep:
    pool_share: 0.9
    lone: 8.0
    strays: 1.0
    flips: 3.0
    neighbour_ulp: 8.0
    neighbour_share: 0.1
    open_share: 0.01
    unjudged: 0.5
  deciding_values:
    factor: 8.0
    floor_ulp: 4.0
    near: 0.05
    share: 0.9
  top5:
    tie_factor: 8.0
  one_pass:
    same: 1.0e-6
  initializers:
    fold_ulp: 8.0
    copy_ulp: 1.0
    tiny_ulp: 4.0
    step_share: 0.51
  untraced:
    seen_share: 0.9
    least_effect: 1.0e-3
    margin: 0.5
  photographs:
    preprocess_levels: 1.5
  canary:
    least_move: 1.0e-3
  localise:
    factor: 4.0
    floor_ulp: 4.0
  approximation:
    sigmoid: 1.5
    tanh: 2.75
    elu: 0.75
    softplus: 2.75
    mish: 4.25
  padding:
    own_error: 64.0
  oracle:
    rounding_ulp: 256.0
    noise_factor: 16.0
  sqnr:
    confidence: 0.99
    least_db: 6.0
  task:
    confidence: 0.99
    agreement: 0.8
    bold_margin: 0.3
    bold_flips: 0.05
    margin_lost: 0.03
    divergence: 0.1
    accuracy_loss: 0.02
  composition:
    share_of_noise: 0.5
  float16:
    roundoff: 8192.0
    factor: 3.0
    floor_ulp: 0.25
    largest_scale: 10.0
    rtol: 1.0e-2
    atol_rms: 5.0e-2
  bfloat16:
    roundoff: 65536.0
    factor: 3.0
    floor_ulp: 0.25
    rtol: 1.0e-1
    atol_rms: 1.0e-1
  tf32:
    roundoff: 8192.0
    factor: 3.0
    floor_ulp: 0.25
    rtol: 1.0e-2
    atol_rms: 5.0e-2
overrides:
- match: {model: "resnet*", check: error_budget}
  set: {factor: 6.0}
  reason: Winograd rounds otherwise
- match: {model: resnet18}
  set: {factor: 9.0}
  reason: it is older
- match: {provider: cuda, exporter: "torch_dynamo+*"}
  set: {minimum: 200.0}
  reason: TF32 is on
"""


@pytest.fixture
def load(tmp_path):
    """Load a tolerances file of the given text (or bytes)."""

    def from_text(text):
        path = tmp_path / "mine.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_tolerances(path)

    return from_text


def line_of(part):
    return GOOD[: GOOD.index(part)].count("\n") + 1


# -- what is valid ---------------------------------------------------------------------------


def test_shipped_file_is_valid_and_names_every_figure():
    shipped = load_tolerances(SHIPPED)
    assert {check: tuple(figures) for check, figures in shipped.defaults.items()} == KEYS
    assert all(override.reason for override in shipped.overrides)


def test_shipped_figures_stand_in_the_file_with_a_reason_each():
    """A comment before each check of the defaults."""
    lines = SHIPPED.read_text().splitlines()
    for check in KEYS:
        assert lines[lines.index(f"  {check}:") - 1].lstrip().startswith("#"), check


def test_figures_are_read_as_written(load):
    assert load(GOOD).defaults["allclose"] == {"rtol": 1e-3, "atol_rms": 1e-3}


# -- what is not -----------------------------------------------------------------------------

FIRST = "- match: {model: resnet18}"
MALFORMED = {
    # what the reader of YAML files does not know by itself: (replace, by, at, words)
    "unknown check": ("  liveness:", "  livelyness:", "  liveness:", "unknown key 'livelyness'"),
    "missing check": ("  top5:\n    tie_factor: 8.0\n", "", "  error_budget:", "'top5' is missing"),
    "unknown figure": ("    floor_ulp: 2.0\n  l", "    roof: 2.0\n  l", "    floor_ulp", "'roof'"),
    "missing figure": ("    rtol: 1.0e-3\n", "", "    rtol", "'rtol' is missing in 'allclose'"),
    "unknown top key": ("overrides:", "override:", "overrides:", "unknown key 'override'"),
    "a wrong schema": ("schema: 1", "schema: 2", "schema", "'schema' must be 1"),
    "out of limits": ("1000.0", "-1.0", "    minimum", "'minimum' must be a number from 100 to"),
    "set out of limits": ("r: 9.0", "r: 1000.0", "  set: {factor: 9", "from 0 to 100, not 1000.0"),
    "no match": ("- match: {model: resnet18}\n  set", "- set", FIRST, "'match' is missing in an"),
    "match of everything": ("{model: resnet18}", "{}", FIRST, "needs a 'match'"),
    "match no mapping": ("{model: resnet18}", "resnet18", FIRST, "'match' must be a mapping"),
    "unknown matcher": (
        "{model: resnet18}", "{modell: resnet18}", FIRST,
        "unknown key 'modell' in 'match'; known: model, exporter",
    ),
    "no reason": (
        "  reason: Winograd rounds otherwise\n", "", "- match",
        "'reason' is missing in an override",
    ),
    "a reason of a word": ("it is older", "'.'", "  reason: it", "a 'reason' of several words"),
    "set unknown figure": ("{factor: 9.0}", "{faktor: 9}", "  set: {factor: 9", "figure 'faktor'"),
    "another check's figure": (
        "{factor: 6.0}", "{rtol: 6.0}", "  set: {factor: 6", "no check .* has a figure 'rtol'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "at", "message"), MALFORMED.values(), ids=MALFORMED)
def test_slip_is_named_by_file_line_and_key(load, tmp_path, old, new, at, message):
    assert GOOD.count(old) == 1
    where = f"^{tmp_path / 'mine.yaml'}, line {line_of(at)}: .*{message}"
    with pytest.raises(UsageError, match=where) as caught:
        load(GOOD.replace(old, new))
    assert "\n" not in str(caught.value)


# -- which rule applies ----------------------------------------------------------------------


def test_defaults_apply_where_nothing_matches(load):
    rule = load(GOOD).rule("error_budget", Case("simple_net", "torch_dynamo", 18, "cpu"))
    assert rule.figures == {
        "factor": 4.0,
        "maximum_noise_floor": 0.1,
        "floor_ulp": 2.0,
        "ordinary_scale": 10.0,
        "constant_share": 0.9,
    }
    assert rule.origin == "mine.yaml: defaults"


def test_later_override_wins_and_is_named(load):
    rule = load(GOOD).rule("error_budget", CASE)
    assert rule.figures == {
        "factor": 9.0,
        "maximum_noise_floor": 0.1,
        "floor_ulp": 2.0,
        "ordinary_scale": 10.0,
        "constant_share": 0.9,
    }
    line = line_of("- match: {model: resnet18}")
    assert rule.origin == f"mine.yaml: override at line {line}: it is older"


def test_earlier_override_holds_where_the_later_does_not_match(load):
    rule = load(GOOD).rule("error_budget", Case("resnet50", "torch_dynamo", 18, "cpu"))
    assert rule["factor"] == 6.0
    assert (
        rule.origin
        == f"mine.yaml: override at line {line_of('- match')}: Winograd rounds otherwise"
    )


def test_override_that_sets_nothing_of_a_check_is_not_its_origin(load):
    rule = load(GOOD).rule("allclose", CASE)
    assert rule.figures == {"rtol": 1e-3, "atol_rms": 1e-3}
    assert rule.origin == "mine.yaml: defaults"


@pytest.mark.parametrize(
    ("exporter", "options", "provider", "minimum"),
    [
        ("torch_dynamo", ExportOptions(dynamic_batch=False), "cuda", 200.0),
        ("torch_dynamo", ExportOptions(), "cuda", 1000.0),
        ("torch_dynamo", ExportOptions(dynamic_batch=False), "cpu", 1000.0),
    ],
)
def test_every_matcher_must_match(load, exporter, options, provider, minimum):
    case = Case("simple_net", exporter, 18, provider, options)
    assert load(GOOD).rule("liveness", case)["minimum"] == minimum


def test_precision_is_matched(load):
    text = GOOD.replace("{model: resnet18}", "{precision: float16}")
    half = replace(CASE, precision="float16")
    assert load(text).rule("error_budget", half)["factor"] == 9.0
    assert load(text).rule("error_budget", CASE)["factor"] == 6.0


@pytest.mark.parametrize(
    ("check", "key", "ratio"),
    [
        ("error_budget", "maximum_noise_floor", 1),
        ("error_budget", "floor_ulp", 1024),
        ("batch_invariance", "floor_ulp", 1024),
        ("localise", "factor", 8192),
        ("top5", "tie_factor", 1),
        ("liveness", "minimum", 1),
    ],
)
def test_ulps_of_a_class_are_its_own(load, check, key, ratio):
    plain = Case("simple_net", "torch_dynamo", 18, "cpu")
    rules = load(GOOD)
    half = rules.rule(check, replace(plain, precision="float16"))
    assert half[key] == rules.rule(check, plain)[key] * ratio
    assert (ratio == 1) or ("the roundoff of float16" in half.origin)


@pytest.mark.parametrize("check", ["error_budget", "batch_invariance"])
def test_a_class_has_a_factor_of_its_own(load, check):
    case = Case("x", "y", 18, "cpu", precision="tf32")
    assert load(GOOD).rule(check, case)["factor"] == 3.0


def test_a_class_has_figures_of_its_own(load):
    half = load(GOOD).rule("allclose", Case("x", "y", 18, "cpu", precision="float16"))
    assert (half["rtol"], half["atol_rms"]) == (1e-2, 5e-2)


def test_overrides_that_match_no_case_are_found(load):
    tolerances = load(GOOD)
    stale = tolerances.unused([CASE])
    assert [override.line for override in stale] == [line_of("- match: {provider: cuda")]
    assert tolerances.unused([]) == list(tolerances.overrides)
