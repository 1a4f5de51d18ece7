"""A slice of ``make detection``: part of the fault corpus, through the suite as users run it."""

from pathlib import Path

import pytest

from tests.meta.detection.document import make_document
from tests.meta.detection.rules import load_yardstick
from tests.meta.detection.running import Choice, Measurement

SLICES = {
    "every fault on a small model": Choice(
        models=("simple_net",), routes=("torch_torchscript",), places=1, rules=False, jobs=1
    ),
    "some faults on an image model": Choice(
        models=("mobilenet_v2",),
        routes=("torch_torchscript",),
        faults=(
            "activation_dropped",
            "batch_declared_frozen",
            "depthwise_kernels_shifted",
            "kernel_flipped",
            "one_channel_slightly_off",
            "operands_commuted",
            "shortcut_dropped",
            "values_through_float16",
            "weights_through_bfloat16",
        ),
        places=1,
        rules=False,
        jobs=1,
    ),
}


def quiet(model, stage, done, total):
    """Progress is for people."""


@pytest.mark.parametrize("choice", SLICES.values(), ids=SLICES)
def test_a_slice_meets_the_bars(choice, pytestconfig, tmp_path):
    cache, yardstick = Path(pytestconfig.getoption("cache_dir")), load_yardstick()
    judged = Measurement(choice, yardstick, tmp_path, cache, quiet).run()
    document = make_document(judged, yardstick, command="", seconds=0.0)
    wanting = [row for row in document["rows"] if row["outcome"] not in ("found", "quiet")]
    told = [
        f"{row['outcome']}: {row['path']} at {row['place']}: {row['reason']}" for row in wanting
    ]
    assert not [*told, *document["shortfalls"]]
    assert document["overall"]["found"] >= len(choice.faults) - 1
    assert document["overall"]["clean"] == len(judged[0].bases.found)
