"""A user's own samples to judge int8 on: read, refused where they prove nothing, and judged."""

import os
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fixtures.models.digits_data import dealt_digits
from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.checks.task import check_task
from onnx_conformance.cli.context import read_run
from onnx_conformance.core.case import DerivedCase
from onnx_conformance.core.domains import Bounded
from onnx_conformance.core.errors import UsageError
from onnx_conformance.diagnose.messages import reproduce_command
from onnx_conformance.inputs.samples import Folder
from onnx_conformance.inputs.tasks import TASKS, samples_of
from onnx_conformance.run.evaluation_data import adopt_evaluation, refuse_idle
from onnx_conformance.run.subject import Answer
from tests.meta.plain_subject import TOLERANCES
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

MODEL = "digits_cnn"
INT8_CASE = DerivedCase(MODEL, "torch_dynamo", 18, "cpu", variant="int8_static", precision="int8")


@pytest.fixture
def digits():
    """Images (n, 1, 8, 8) that the classifier was not trained on, and their digits."""
    images, labels = dealt_digits()
    return images[1000:1500], labels[1000:1500]


@pytest.fixture
def evaluation(tmp_path, digits):
    """A folder of two files."""
    images, labels = digits
    folder = tmp_path / "evaluation"
    folder.mkdir()
    np.savez(folder / "a.npz", input=images[:255], labels=labels[:255])
    np.savez(folder / "b.npz", input=images[255:], labels=labels[255:])
    return folder


@pytest.fixture
def adopt(monkeypatch):
    """``adopt_evaluation``, undone at the end."""
    monkeypatch.setattr(MODELS, "_records", dict(MODELS._records))
    monkeypatch.setattr(TASKS, "_records", dict(TASKS._records))
    return adopt_evaluation


def test_samples_and_labels_are_read_in_order(evaluation, digits):
    images, labels = digits
    samples = Folder("--evaluation-data", evaluation).samples(resolve_model(MODEL))
    assert len(samples) == len(images)
    assert max(len(inputs["input"]) for inputs in samples.input_sets) == 10
    np.testing.assert_array_equal(np.concatenate([f["input"] for f in samples.input_sets]), images)
    np.testing.assert_array_equal(samples.labels, labels)


def arrays(**changed):
    good = {"input": np.zeros((3, 1, 8, 8), np.float32), "labels": np.arange(3)}
    return {name: array for name, array in {**good, **changed}.items() if array is not None}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([arrays(labels=np.arange(4))], "'labels' is int64[4], expected integers [3]"),
        ([arrays(labels=np.ones(3, np.float32))], "'labels' is float32[3], expected integers"),
        ([arrays(), arrays(labels=None)], "1 of 2 files have 'labels'"),
        ([arrays(input=np.zeros((0, 1, 8, 8), np.float32))], "its inputs have [0] samples"),
        ([b"no archive"], "cannot read 0.npz"),
        ([arrays(label=np.arange(3))], "'label' is neither an input (input) nor 'labels'"),
        ([arrays(input=np.full((3, 1, 8, 8), np.nan, np.float32))], "has NaN or infinity"),
        ([], "nothing to read (empty); give a folder with .npz files"),
    ],
    ids=["length", "dtype", "some", "empty", "broken", "strange", "NaN", "nothing"],
)
def test_a_folder_that_does_not_fit_is_refused(tmp_path, files, message):
    for place, content in enumerate(files):
        path = tmp_path / f"{place}.npz"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.savez(path, **content)
    with pytest.raises(UsageError) as caught:
        Folder("--evaluation-data", tmp_path).samples(resolve_model(MODEL))
    assert message in str(caught.value)
    assert str(caught.value).startswith("--evaluation-data")


def test_inputs_outside_the_models_domain_are_refused(tmp_path):
    model = resolve_model(MODEL)
    within = replace(model, inputs=(replace(model.inputs[0], domain=Bounded(0.0, 1.0)),))
    np.savez(tmp_path / "pixels.npz", input=np.full((2, 1, 8, 8), 16, np.float32))
    with pytest.raises(UsageError, match="goes from 16 to 16, but the model's spec says 0 to 1"):
        Folder("--evaluation-data", tmp_path).samples(within)


def a_lone_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def a_member(name):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"no array")

    return write


@pytest.mark.parametrize(
    "write",
    [a_lone_array, lambda path: path.write_bytes(b""), a_member("input"), a_member("input.npy")],
    ids=["npy", "empty", "no npy member", "broken member"],
)
def test_what_is_no_archive_of_arrays_is_reported(tmp_path, write):
    write(tmp_path / "a.npz")
    with pytest.raises(UsageError, match=r"a\.npz"):
        Folder("--evaluation-data", tmp_path).samples(resolve_model(MODEL))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(UsageError, match="nothing to read"):
        Folder("--evaluation-data", tmp_path).samples(resolve_model(MODEL))


def test_a_repeated_sample_is_no_further_evidence(tmp_path, digits):
    images, labels = digits
    np.savez(tmp_path / "a.npz", input=images[[0, 1, 1, 0, 1]], labels=labels[[0, 1, 1, 0, 1]])
    np.savez(tmp_path / "b.npz", input=images[[1, 2]], labels=labels[[1, 2]])
    samples = Folder("--evaluation-data", tmp_path).samples(resolve_model(MODEL))
    assert (len(samples), samples.repeated) == (3, 4)
    np.testing.assert_array_equal(samples.labels, labels[:3])


def test_a_repeated_photograph_is_no_further_evidence(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(2, 40, 40, 3), dtype=np.uint8)
    for name, row in (("a", 0), ("b", 1), ("c", 0)):
        Image.fromarray(pixels[row]).save(tmp_path / f"{name}.png")
    samples = Folder("--evaluation-data", tmp_path).samples(resolve_model("efficientnet_lite0"))
    assert (len(samples), samples.repeated) == (2, 1)


def test_labels_that_the_model_has_no_class_for_are_refused(tmp_path, digits, adopt):
    np.savez(tmp_path / "a.npz", input=digits[0], labels=digits[1] + 1)
    with pytest.raises(UsageError, match="labels go from 1 to 10, but digits_cnn has the classes"):
        adopt(str(tmp_path), "", (MODEL,))


def test_a_model_that_was_never_trained_is_refused(evaluation, adopt):
    with pytest.raises(UsageError, match="simple_net has no trained weights"):
        adopt(str(evaluation), "", ("simple_net",))


def test_a_sample_that_is_calibrated_on_is_refused(tmp_path, evaluation, digits, adopt):
    calibration = tmp_path / "calibration"
    calibration.mkdir()
    np.savez(calibration / "c.npz", input=digits[0][[0, 7, 7]])
    with pytest.raises(UsageError, match="2 of 500 samples are in --calibration-data too"):
        adopt(str(evaluation), str(calibration), (MODEL,))


@pytest.mark.parametrize("models", [(), (MODEL, "simple_net")])
def test_samples_of_no_single_model_are_refused(evaluation, models, adopt):
    with pytest.raises(UsageError, match="needs exactly one model"):
        adopt(str(evaluation), "", models)


@pytest.mark.parametrize(
    ("folders", "case", "message"),
    [
        (("folder", ""), replace(INT8_CASE, variant="int8_dynamic"), "only calibrated variants"),
        (("", "folder"), replace(INT8_CASE, precision="float32"), "is for int8 only"),
    ],
)
def test_a_folder_that_shapes_nothing_is_refused(folders, case, message):
    with pytest.raises(UsageError, match=message):
        refuse_idle(*folders, [case])  # type: ignore[call-arg]


def judged(said, change=lambda logits: logits):
    """The verdict on a file that changes the logits of a native that names the classes ``said``."""
    model = resolve_model(MODEL)
    native = 8.0 * np.eye(10, dtype=np.float32)[said]
    converted = change(native)
    task = TASKS[model.task]
    input_sets = task.evaluation(model, 0).input_sets
    input_sets += task.further(model, 0).input_sets if task.further else ()
    ends = np.cumsum([len(inputs["input"]) for inputs in input_sets])
    starts = {f.digest: end - len(f["input"]) for f, end in zip(input_sets, ends, strict=True)}

    def cut(logits, inputs):
        start = starts[inputs.digest]
        return {"output": logits[start : start + len(inputs["input"])]}

    subject = SimpleNamespace(
        model=model,
        seed=0,
        case=INT8_CASE,
        tolerances=TOLERANCES,
        native=lambda inputs: cut(native, inputs),
        run=lambda inputs: Answer(cut(converted, inputs)),
    )
    return check_task(subject)


def mostly(labels):
    """Classes of which 96 % are right."""
    return np.where(np.arange(len(labels)) % 25 == 0, 9 - labels, labels)


def test_adopted_samples_are_what_the_check_judges_on(evaluation, digits, adopt):
    adopt(str(evaluation), "", (MODEL,))
    right = judged(mostly(digits[1]))
    assert (right.outcome, right.compared) == ("passed", 500)
    assert right.inputs == "500 samples of evaluation, with labels"
    assert right.reason.endswith("native names 10 of 10 classes, and is right on 96.0%")
    wrong = judged(mostly(digits[1]), lambda logits: np.roll(logits, 1, axis=0))
    assert wrong.outcome == "failed"
    assert "accuracy lost" in wrong.reason


def test_labels_that_are_not_the_models_prove_nothing(evaluation, digits, adopt):
    """Else no file could be less accurate than native, which is hardly ever right."""
    adopt(str(evaluation), "", (MODEL,))
    shuffled = np.random.default_rng(0).permutation(digits[1])  # right on a tenth, by chance
    for said in ((mostly(digits[1]) + 1) % 10, shuffled):
        result = judged(said)
        assert result.outcome == "failed"
        assert "check labels and preprocessing" in result.reason


@pytest.mark.parametrize("others", [0, 1, 90])
def test_samples_on_which_one_class_for_all_would_pass_prove_nothing(
    evaluation, digits, adopt, others
):
    adopt(str(evaluation), "", (MODEL,))
    said = np.full(len(digits[1]), 3)
    said[:others] = 4
    result = judged(said)
    assert result.outcome == "failed"
    assert f"native names class 3 for {1 - others / 500:.1%} of 500 samples" in result.reason


def test_too_few_samples_are_distinguished_from_a_bad_file(tmp_path, digits, adopt):
    images, labels = digits
    np.savez(tmp_path / "a.npz", input=images[:50], labels=labels[:50])
    adopt(str(tmp_path), "", (MODEL,))
    result = judged(mostly(labels[:50]))
    assert (result.outcome, result.compared) == ("skipped", 50)  # incomplete, and not red
    assert result.reason.startswith("50 samples are too few: accuracy lost 0 ")


def test_a_verdict_that_hangs_on_too_few_samples_draws_more(tmp_path, digits, adopt):
    images, labels = digits
    np.savez(tmp_path / "a.npz", input=images[:50], labels=labels[:50])
    adopt(str(tmp_path), "", (MODEL,))
    task = TASKS[resolve_model(MODEL).task]
    rest = images[50:], labels[50:]
    TASKS.put(task.name, replace(task, further=lambda model, seed: samples_of(model, *rest)))
    right = judged(mostly(labels))
    assert (right.outcome, right.compared) == ("passed", 500)

    def wrong_later(logits):
        return np.concatenate([logits[:50], np.roll(logits[50:], 1, axis=0)])

    wrong = judged(mostly(labels), wrong_later)
    assert (wrong.outcome, wrong.compared) == ("failed", 500)


def test_the_command_in_a_failure_repeats_the_folders(tmp_path, evaluation, digits, adopt):
    (tmp_path / "calibration").mkdir()
    np.savez(tmp_path / "calibration" / "c.npz", input=dealt_digits()[0][:50])
    folders = [f"--calibration-data={tmp_path / 'calibration'}", f"--evaluation-data={evaluation}"]
    run = read_run([f"--model={MODEL}", "--variant=int8_static", *folders])
    command = reproduce_command(run, "tests/test_quantised.py::test_task", run.cases[-1])
    assert " ".join(folders) in command


def test_a_run_is_judged_on_the_folder(tmp_path, evaluation):
    chosen = (f"--model={MODEL}", "--exporter=torch_torchscript", "--opset=14", "--provider=cpu")
    arguments = ("--variant=int8_static", f"--evaluation-data={evaluation}", "-k", "task or sqnr")
    ran = run_suite(tmp_path, "tests/test_quantised.py", *chosen, *arguments)
    rows = [row for case in ran.document["cases"] for row in case["checks"]]
    [task] = [row for row in rows if row["name"] == "task" and row["outcome"] == "passed"]
    assert "500 samples" in task["reason"]
    assert "500 samples of evaluation, with labels" in task["inputs"]
