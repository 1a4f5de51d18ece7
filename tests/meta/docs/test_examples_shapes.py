"""The worked examples of shapes and of memory: each is proved, and with one wrong edit red."""

import pytest

from tests.meta.running import ROOT, run_suite
from tests.meta.spoiled_axes import BACKWARDS

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples" / "models"
FILES = [f"--models-from={EXAMPLES / name}.py" for name in ("shapes", "memory")]
BY_TORCH_EXPORT = ("images_by_texts", "step_of_a_decoder", "graph_network", "decoder_with_cache")
BY_TRACING = tuple(name for name in BACKWARDS if name not in BY_TORCH_EXPORT)
OF_VALUES = {"error_budget", "allclose"}


@pytest.fixture(
    scope="module", params=[("torchscript", BY_TRACING), ("dynamo", BY_TORCH_EXPORT)], ids=str
)
def run(request, tmp_path_factory):
    """Every example by one route, right and with an axis that runs backwards."""
    route, models = request.param
    folder = tmp_path_factory.mktemp(route)
    options = (*FILES, f"--save-onnx={folder / 'files'}", "--no-localize")
    routes = (f"--exporter=torch_{route}", f"--exporter=spoiled_{route}", "--opset=18")
    chosen = [f"--model={name}" for name in models]
    plain = ("--ignore=tests/meta", "--ignore=tests/test_export_options.py", "--provider=cpu")
    # a spoiled file must be red by its values, and nothing else of it is looked at
    judged = ("-k", f"torch_{route} or (spoiled_{route} and (pinned or allclose))", "--bundles=0")
    arguments = ("tests", *plain, *options, *routes, *chosen, *judged)
    return models, run_suite(folder, *arguments, plugin="spoiled_shapes"), folder / "files"


def cases(run, route):
    return {case["model"]: case for case in run.document["cases"] if route in case["id"]}


def test_every_shape_is_proved(run):
    models, ran, _ = run
    found = {name: (c["verdict"], c["complete"]) for name, c in cases(ran, "-torch_").items()}
    assert found == dict.fromkeys(models, ("passed", True)), ran.text


def test_an_axis_that_runs_backwards_is_red_by_its_values(run):
    models, ran, _ = run
    spoiled = cases(ran, "-spoiled_")
    assert set(spoiled) == set(models)
    for name, case in spoiled.items():
        red = {row["name"] for row in case["checks"] if row["outcome"] == "failed"}
        assert red & OF_VALUES, (name, red)


def test_a_fixed_batch_is_proved_as_an_external_file_too(run, tmp_path):
    models, _, folder = run
    if "static_2" not in models:
        return
    given = f"--artifact={folder / 'static_2-torch_torchscript-opset18.onnx'}"
    options = (*FILES, "--model=static_2", given, "--provider=cpu")
    ran = run_suite(tmp_path, "tests", "--ignore=tests/meta", *options)
    (case,) = ran.document["cases"]
    assert (ran.status, case["verdict"], case["complete"]) == (0, "passed", True), ran.text
