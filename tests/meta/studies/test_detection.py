"""A slice of ``make detection``: part of the fault corpus, through the suite as users run it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from studies.detection.document import make_document
from studies.detection.measurement import Choice, Measurement
from studies.detection.rules import load_rules

pytestmark = pytest.mark.slow

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


@pytest.fixture(scope="module")
def slices(pytestconfig, tmp_path_factory):
    """The slices' documents to be, both measured at the same time."""
    cache, study_rules = Path(pytestconfig.getoption("cache_dir")), load_rules()

    def measure(choice):
        work = tmp_path_factory.mktemp("detection")
        judged = Measurement(choice, study_rules, work, cache, quiet).run()
        return make_document(judged, study_rules, command="", seconds=0.0)

    with ThreadPoolExecutor(len(SLICES)) as pool:
        return {name: pool.submit(measure, choice) for name, choice in SLICES.items()}


@pytest.mark.parametrize("name", SLICES)
def test_a_slice_meets_the_bars(slices, name):
    document = slices[name].result()
    wanting = [row for row in document["rows"] if row["outcome"] not in ("found", "quiet", "edge")]
    trials = [
        f"{row['outcome']}: {row['path']} at {row['place']}: {row['reason']}" for row in wanting
    ]
    assert not [*trials, *document["shortfalls"]]


@pytest.mark.parametrize("name", SLICES)
def test_a_slice_holds_what_was_asked_for(slices, name):
    overall, faults = slices[name].result()["overall"], SLICES[name].faults
    assert overall["clean"] >= 1
    assert overall["wrong"] + overall["harmless"] >= max(len(faults), 1)
    assert overall["harmless"] >= 1
