"""The worked examples of shapes: each is proved, with nothing left out."""

import pytest

from tests.meta.running import ROOT, run_suite

pytestmark = pytest.mark.slow

FILE = ROOT / "examples" / "models" / "shapes.py"
BY_TRACING = ("static_1", "static_2", "voice_activity", "detector", "sequence_first")
BY_TORCH_EXPORT = ("images_by_texts", "step_of_a_decoder", "graph_network")


@pytest.mark.parametrize(
    ("route", "models"),
    [("torch_torchscript", BY_TRACING), ("torch_dynamo", BY_TORCH_EXPORT)],
)
def test_every_shape_is_proved(tmp_path, route, models):
    options = (f"--models-from={FILE}", f"--exporter={route}", "--opset=18", "--provider=cpu")
    chosen = [f"--model={name}" for name in models]
    plain = ("--ignore=tests/meta", "--ignore=tests/test_export_options.py")
    run = run_suite(tmp_path, "tests", *plain, *options, *chosen)
    assert run.status == 0, run.text
    found = {case["model"]: (case["verdict"], case["complete"]) for case in run.document["cases"]}
    assert found == dict.fromkeys(models, ("passed", True))
