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
    floor_ulp: 2.0
  liveness:
    dead_share: 0.1
    moving_share: 0.1
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

MALFORMED = {
    # name: (replace, by, at, words)
    "unknown check": ("  liveness:", "  livelyness:", "  liveness:", "unknown key 'livelyness'"),
    "missing check": ("  top5:\n    tie_factor: 8.0\n", "", "  error_budget:", "'top5' is missing"),
    "unknown key": (
        "    floor_ulp: 2.0\n  l",
        "    flor_ulp: 2.0\n  l",
        "    floor_ulp",
        "'flor_ulp'",
    ),
    "missing key": (
        "    rtol: 1.0e-3\n",
        "",
        "    rtol: 1.0e-3",
        "'rtol' is missing in 'allclose'",
    ),
    "unknown top key": ("overrides:", "override:", "overrides:", "unknown key 'override'"),
    "missing top key": ("schema: 1\n", "", "schema", "'schema' is missing in the file"),
    "duplicate key": (
        "    minimum:",
        "    minimum: 1.0\n    minimum:",
        "  allclose",
        "'minimum' occurs twice",
    ),
    "duplicate check": (
        "  liveness:",
        "  error_budget:",
        "  liveness:",
        "'error_budget' occurs twice",
    ),
    "text": ("1000.0", "many", "    minimum", "'minimum' must be a number .* not 'many'"),
    "quoted": (
        "rtol: 1.0e-3",
        "rtol: '1e-3'",
        "    rtol: 1.0e-3",
        "'rtol' must be .* not '1e-3'",
    ),
    "negative": ("1000.0", "-1.0", "    minimum", "'minimum' must be a number from 100 to"),
    "infinite": ("1000.0", ".inf", "    minimum", "'minimum' must be a number .* not inf"),
    "not a number": ("1000.0", ".nan", "    minimum", "'minimum' must be a number .* not nan"),
    "boolean": ("1000.0", "yes", "    minimum", "'minimum' must be a number .* not True"),
    "nothing": ("1000.0", "", "    minimum", "'minimum' must be a number .* not None"),
    "list": ("1000.0", "[1.0]", "    minimum", r"'minimum' must be a number .* not \[1.0\]"),
    "no date": ("1000.0", "2025-99-99", "    minimum", "'minimum' must be a number"),
    "unknown tag": (
        "1000.0",
        "!!python/name:os.system",
        "    minimum",
        "'minimum' must be a number",
    ),
    "check without keys": (
        "    dead_share: 0.1\n    moving_share: 0.1\n"
        "    coarse_minimum: 50.0\n    minimum: 1000.0\n",
        "",
        "  liveness",
        "'liveness' must be a mapping",
    ),
    "wrong schema": ("schema: 1", "schema: 2", "schema", "'schema' must be 1"),
    "no schema number": ("schema: 1", "schema: yes", "schema", "'schema' must be 1"),
    "overrides no list": (
        GOOD[GOOD.index("- match") :],
        "  a: b",
        "- match",
        "'overrides' must be a list",
    ),
    "override no mapping": (
        "- match: {model: resnet18}\n  set",
        "- set",
        "- match: {model: resnet18}",
        "'match' is missing in an override",
    ),
    "no reason": (
        "  reason: Winograd rounds otherwise\n",
        "",
        "- match",
        "'reason' is missing in an override",
    ),
    "a reason of a word": ("it is older", "'.'", "  reason: it", "a 'reason' of several words"),
    "beyond all limits": (
        "factor: 9.0",
        "factor: 1000.0",
        "  set: {factor: 9",
        "from 0 to 100, not 1000.0",
    ),
    "match of everything": (
        "{model: resnet18}",
        "{}",
        "- match: {model: resnet18",
        "needs a 'match'",
    ),
    "empty reason": (
        "reason: Winograd rounds otherwise",
        "reason: ' '",
        "  reason: W",
        "needs a 'reason'",
    ),
    "unknown matcher": (
        "{model: resnet18}",
        "{modell: resnet18}",
        "- match: {model: resnet18}",
        "unknown key 'modell' in 'match'; known: model, exporter",
    ),
    "matcher no text": (
        "{model: resnet18}",
        "{model: [a, b]}",
        "- match: {model: resnet18}",
        "'model' must be a text",
    ),
    "match no mapping": (
        "{model: resnet18}",
        "resnet18",
        "- match: {model: resnet18}",
        "'match' must be a mapping",
    ),
    "unknown figure": ("{factor: 9.0}", "{faktor: 9.0}", "  set: {factor: 9.0}", "figure 'faktor'"),
    "another check's figure": (
        "{factor: 6.0}",
        "{rtol: 6.0}",
        "  set: {factor: 6.0}",
        "no check .* has a figure 'rtol'",
    ),
    "negative figure": (
        "{factor: 9.0}",
        "{factor: -9.0}",
        "  set: {factor: 9.0}",
        "'factor' must be a number",
    ),
    "key no text": ("schema: 1", "schema: 1\n[a]: 1", "defaults:", "unknown key"),
}


@pytest.mark.parametrize(("old", "new", "at", "message"), MALFORMED.values(), ids=MALFORMED)
def test_slip_is_named_by_file_line_and_key(load, tmp_path, old, new, at, message):
    assert GOOD.count(old) == 1
    where = f"^{tmp_path / 'mine.yaml'}, line {line_of(at)}: .*{message}"
    with pytest.raises(UsageError, match=where) as caught:
        load(GOOD.replace(old, new))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file must be a mapping"),
        ("- 1", "line 1: the file must be a mapping"),
        ("schema: [1", "is not YAML: .*line 1"),
        ("schema: 1\n\tdefaults: 2", "is not YAML: .*line 2"),
        (GOOD + "---\n" + GOOD, "is not YAML: .*single document"),
        (b"schema: \xff\xfe", "is not YAML"),
        (b"schema: \x01", "is not YAML"),
    ],
)
def test_what_is_no_yaml_is_reported_in_one_line(load, tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        load(text)
    assert str(tmp_path / "mine.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "message"), [("none", "No such file"), (".", "Is a directory")])
def test_file_that_cannot_be_read_is_named(tmp_path, name, message):
    with pytest.raises(UsageError, match=f"cannot read {tmp_path / name}: {message}"):
        load_tolerances(tmp_path / name)


# -- which rule applies ----------------------------------------------------------------------


def test_defaults_apply_where_nothing_matches(load):
    rule = load(GOOD).rule("error_budget", Case("simple_net", "torch_dynamo", 18, "cpu"))
    assert rule.figures == {
        "factor": 4.0,
        "maximum_noise_floor": 0.1,
        "floor_ulp": 2.0,
        "ordinary_scale": 10.0,
    }
    assert rule.origin == "mine.yaml: defaults"


def test_later_override_wins_and_is_named(load):
    rule = load(GOOD).rule("error_budget", CASE)
    assert rule.figures == {
        "factor": 9.0,
        "maximum_noise_floor": 0.1,
        "floor_ulp": 2.0,
        "ordinary_scale": 10.0,
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
