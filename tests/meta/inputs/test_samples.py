"""Samples and the arrays that workers take: there and back, whatever the model's layout is."""

import numpy as np
import pytest

from onnx_conformance.core.budget import Reference, matching_sizes
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import Axis, ModelSpec, TensorSpec
from onnx_conformance.core.ties import in_rows
from onnx_conformance.inputs.batch_layout import (
    fitted_to,
    fixed_batch,
    layout_of,
    with_fixed_sizes,
)
from onnx_conformance.inputs.families import batch_mates, malformed, non_finite
from onnx_conformance.inputs.recipes import Inputs, RawInputs, Recipe
from onnx_conformance.inputs.samples import Folder


def spec_of(*shapes):
    return tuple(TensorSpec(f"t{place}", shape) for place, shape in enumerate(shapes))


def model_of(inputs, outputs=(("batch", 2),), **fields):
    named = tuple(TensorSpec(f"out{place}", shape) for place, shape in enumerate(outputs))
    return ModelSpec("m", "torch", spec_of(*inputs), named, "m:m", **fields)


def through(inputs, outputs, group, input_set, answer):
    """The rows that come back from a worker that computes ``answer`` of each call."""
    layout = layout_of(inputs, outputs, group)
    calls = layout.calls(input_set)
    return calls, layout.rows(input_set, [answer(call) for call in calls])


def test_a_plain_model_is_given_the_very_inputs():
    (spec,) = spec_of(("batch", 3))
    inputs = Recipe("normal", batch=4).inputs((spec,))
    layout = layout_of((spec,), (spec,), 0)
    assert layout.calls(inputs)[0] is inputs


def test_a_batch_on_another_axis_is_turned_there_and_back():
    inputs = outputs = spec_of((5, "batch", 2))
    input_set = Inputs({"t0": np.arange(30.0).reshape(3, 5, 2)})
    calls, rows = through(inputs, outputs, 0, input_set, lambda call: {"t0": 2 * call["t0"]})
    assert [call["t0"].shape for call in calls] == [(5, 3, 2)]
    np.testing.assert_array_equal(rows["t0"], 2 * input_set["t0"])


def test_without_a_batch_each_sample_is_a_call():
    inputs = spec_of((2, 3))
    outputs = (TensorSpec("y", ()),)
    input_set = Recipe("normal", batch=3).inputs(inputs)
    calls, rows = through(inputs, outputs, 0, input_set, lambda call: {"y": call["t0"].sum()})
    assert [call["t0"].shape for call in calls] == [(2, 3)] * 3
    np.testing.assert_allclose(rows["y"], input_set["t0"].sum(axis=(1, 2)))


def test_what_samples_share_is_given_once_and_as_a_scalar():
    inputs, outputs = spec_of(("batch", 2), ()), (TensorSpec("y", ("batch", 2)),)
    input_set = Recipe("normal", batch=3).inputs(inputs)
    assert len(set(input_set["t1"].tolist())) == 1
    calls, rows = through(inputs, outputs, 0, input_set, lambda c: {"y": c["t0"] + c["t1"]})
    assert [(c["t0"].shape, c["t1"].shape) for c in calls] == [((3, 2), ())]
    np.testing.assert_array_equal(rows["y"], input_set["t0"] + input_set["t1"][:, None])


def test_samples_that_share_something_else_are_calls_of_their_own():
    inputs, outputs = spec_of(("batch", 2), ()), (TensorSpec("y", ("batch", 2)),)
    input_set = Inputs({"t0": np.arange(8.0).reshape(4, 2), "t1": np.array([1.0, 5.0, 1.0, 5.0])})
    calls, rows = through(inputs, outputs, 0, input_set, lambda c: {"y": c["t0"] * c["t1"]})
    assert [float(call["t1"]) for call in calls] == [1.0, 5.0]
    np.testing.assert_array_equal(rows["y"], input_set["t0"] * input_set["t1"][:, None])


def test_a_fixed_batch_is_filled_up_with_other_samples_and_not_with_zeros():
    inputs, outputs = spec_of(("batch", 2)), (TensorSpec("y", ("batch", 2)),)
    input_set = Inputs({"t0": np.arange(1.0, 11.0).reshape(5, 2)})
    calls, rows = through(inputs, outputs, 2, input_set, lambda call: {"y": call["t0"] + 1})
    assert [len(call["t0"]) for call in calls] == [2, 2, 2]
    assert calls[-1]["t0"].all()
    assert not np.array_equal(calls[-1]["t0"][0], calls[-1]["t0"][1])
    np.testing.assert_array_equal(rows["y"], input_set["t0"] + 1)


@pytest.mark.parametrize(("group", "calls"), [(0, [1] * 3), (2, [2, 2])])
def test_calibration_takes_samples_one_by_one_or_in_groups(group, calls):
    inputs = spec_of((5, "batch"))
    found = layout_of(inputs, (), group).smallest_calls([Inputs({"t0": np.zeros((3, 5))})])
    assert [call["t0"].shape for call in found] == [(5, size) for size in calls]


@pytest.mark.parametrize(
    ("shapes", "arrays", "rows"),
    [
        ([(2, "batch", 3), ()], [(2, 7, 3), ()], [(7, 2, 3), (7,)]),
        ([(2, "batch", 3), ()], [(7, 2, 3), (7,)], [(7, 2, 3), (7,)]),
        ([(4, 3)], [(4, 3)], [(1, 4, 3)]),
        ([(4, 3)], [(5, 4, 3)], [(5, 4, 3)]),
    ],
    ids=["own layout", "rows", "one sample", "samples of no batch"],
)
def test_a_folder_holds_samples_in_the_layout_of_the_model(tmp_path, shapes, arrays, rows):
    drawn = np.random.default_rng(0)
    written = {f"t{n}": drawn.random(shape, np.float32) for n, shape in enumerate(arrays)}
    np.savez(tmp_path / "a.npz", **written)
    found = Folder("--calibration-data", tmp_path).samples(model_of(shapes)).input_sets
    assert [tuple(array.shape) for array in found[0].values()] == rows
    own = written["t0"]
    turned = np.moveaxis(own, 1, 0) if own.shape != rows[0] and own.ndim == len(rows[0]) else own
    np.testing.assert_array_equal(found[0]["t0"], turned.reshape(rows[0]))


def test_a_folder_in_no_layout_of_the_model_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", t0=np.zeros((2, 7, 4), np.float32))
    with pytest.raises(UsageError, match=r"'t0' is float32\[2, 7, 4\], expected"):
        Folder("--calibration-data", tmp_path).samples(model_of([(2, "batch", 3)]))


@pytest.mark.parametrize("group", [0, 2])
def test_no_sample_is_one_call_of_none(group):
    inputs = spec_of((3, "batch"))
    input_set = Inputs({"t0": np.zeros((0, 3))})
    calls, rows = through(inputs, inputs, group, input_set, lambda call: {"t0": call["t0"]})
    assert [call["t0"].shape for call in calls] == [(3, 0)]
    assert rows["t0"].shape == (0, 3)


@pytest.mark.parametrize("wrong", [(1, 2), (3, 2), (2, 3), ()])
def test_an_answer_of_another_size_is_seen(wrong):
    inputs, outputs = spec_of((7, "batch")), (TensorSpec("y", ("batch", 2)),)
    input_set = Recipe("normal", batch=2).inputs(inputs)
    _, rows = through(inputs, outputs, 0, input_set, lambda call: {"y": np.zeros(wrong)})
    assert rows["y"].shape != (2, 2)


def test_raw_inputs_are_given_as_they_are():
    (spec,) = spec_of((2, "batch"))
    raw = RawInputs({"t0": np.zeros((9, 9))})
    assert layout_of((spec,), (), 0).calls(raw) == [raw]
    assert raw.digest != Inputs(raw).digest


def test_malformed_inputs_are_in_the_layout_of_the_model():
    good = malformed(model_of([(3, "batch", 4)]), 0)
    assert good["dtype"].inputs["t0"].shape == (3, 2, 4)
    assert good["rank"].inputs["t0"].shape == (2, 4)
    scalar = malformed(model_of([(), ("batch", 4)]), 0)
    assert scalar["rank"].inputs["t0"].shape == ()  # of scalars ONNX Runtime checks no rank
    assert scalar["rank"].inputs["t1"].shape == (4,)


def test_only_what_a_sample_has_of_its_own_is_made_non_finite():
    inputs = non_finite(model_of([(3, "batch"), ()]), 0).inputs
    assert np.isfinite(inputs["t1"]).all()
    assert np.isnan(inputs["t0"][0]).any()
    assert np.isfinite(inputs["t0"][3]).all()


def test_batch_mates_share_what_samples_share():
    shared = np.concatenate(
        [inputs["t1"] for inputs in batch_mates(model_of([("batch", 2), ()]), 0)[0]]
    )
    assert len(set(shared.tolist())) == 1


def facts(*shapes):
    return {"inputs": [{"name": f"t{n}", "shape": list(s)} for n, s in enumerate(shapes)]}


def test_a_file_may_fix_its_batch_and_sizes():
    model = model_of([("batch", "height"), ()], axes=(("height", Axis(1, 9)),))
    assert fixed_batch(model, facts((2, 7), ())) == 2
    assert fixed_batch(model, facts(("batch", 7), ())) == 0
    assert dict(with_fixed_sizes(model, facts((2, 7), ())).axes) == {"height": Axis(7, 7)}
    assert with_fixed_sizes(model, facts(("batch", "height"), ())) is model


# -- sizes that the values decide --------------------------------------------------------------

KEPT = model_of([(4,)], [("out0_dim_0",)], by_values=("out0",))


def kept(sizes, value=1.0, room=4):
    rows = np.zeros((len(sizes), room))
    for row, size in enumerate(sizes):
        rows[row, :size] = value
    return {"out0": rows, "out0 (size)": np.array(sizes)[:, None]}


def test_sizes_stand_beside_rows():
    layout = layout_of(KEPT.inputs, KEPT.outputs, 0, KEPT.sized)
    inputs = Inputs({"t0": np.zeros((2, 4))})
    rows = layout.rows(inputs, [{"out0": np.ones(3)}, {"out0": np.ones(1)}])
    assert rows["out0"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert rows["out0 (size)"].tolist() == [[3], [1]]


def test_cut_to_native_a_box_too_many_still_shows():
    native, got = kept([2, 2], room=2), kept([2, 3], room=3)
    fitted = fitted_to(KEPT, native, got)
    assert fitted["out0"].shape == native["out0"].shape
    assert fitted["out0 (size)"].tolist() != native["out0 (size)"].tolist()


def test_where_float32_itself_disagrees_either_size_is_right():
    oracle, native = kept([2, 3]), kept([2, 2], 1.0000001)
    reference = Reference(oracle, native, (native,))
    found = matching_sizes(reference, kept([2, 2]), KEPT)
    np.testing.assert_array_equal(found.oracle["out0 (size)"], [[2], [2]])
    np.testing.assert_array_equal(found.oracle["out0"][1], native["out0"][1])


def test_a_size_that_no_way_gives_is_left_to_fail():
    reference = Reference(kept([2, 3]), kept([2, 2]), ())
    found = matching_sizes(reference, kept([2, 1]), KEPT)
    np.testing.assert_array_equal(found.oracle["out0 (size)"], [[2], [3]])


@pytest.mark.parametrize(
    ("batch", "where", "rows", "moved"),
    [
        (None, [1, 1, 2, 3, 4], (1, 2, 4, 5), [2, 1, 1, 2, 3, 4]),
        (2, [1, 1, 2, 3, 4], (4, 2, 5), [2, 1, 0, 2, 3]),
        (0, [1, 1, 2, 3, 4], (2, 4, 5), [1, 1, 0, 3, 4]),
    ],
)
def test_what_positions_were_chosen_from_turns_with_them(batch, where, rows, moved):
    candidates = np.zeros((2, 4, 5))  # of positions (2, 3, 4), chosen along axis 1 among 5
    found = in_rows(candidates, np.array(where), np.zeros((2, 3, 4)), batch)
    assert found is not None
    assert (found[0].shape, found[1].tolist()) == (rows, moved)


def test_positions_along_the_batch_are_no_choice_of_a_sample():
    assert in_rows(np.zeros((2, 4, 5)), np.array([1, 1, 2, 3, 4]), np.zeros((2, 3, 4)), 1) is None
