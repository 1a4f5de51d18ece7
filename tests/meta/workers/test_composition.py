"""Files that belong together as one graph: what each call is given, and what does not fit."""

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_conformance.core.errors import Refused
from onnx_conformance.core.file_roles import ENCODER, FIRST, MERGED, NEXT, chains, roles
from onnx_conformance.workers.reader.composition import compose, one_call

ENCODE = """
encode (int64[batch,source] input_ids, int64[batch,source] attention_mask)
    => (float[batch,source,2] last_hidden_state) {
  one = Constant <value_ints = [-1]> ()
  rows = Gather (table, input_ids)
  mask = Cast <to = 1> (attention_mask)
  column = Unsqueeze (mask, one)
  last_hidden_state = Mul (rows, column)
}"""
DECODE = """
decode (int64[batch,new] input_ids, float[batch,source,2] encoder_hidden_states)
    => (float[batch,new,2] logits, float[batch,new,2] KEY, float[batch,1,2] HEARD,
        float[batch,1,2] TWICE) {
  axis = Constant <value_ints = [1]> ()
  place = Constant <value_int = 1> ()
  KEY = Gather (table, input_ids)
  HEARD = ReduceSum (encoder_hidden_states, axis)
  TWICE = Add (HEARD, HEARD)
  said = CumSum (KEY, place)
  heard = Add (said, HEARD)
  logits = Add (heard, TWICE)
}"""
GO_ON = """
go_on (int64[batch,1] input_ids, float[batch,past,2] PAST_KEY, float[batch,1,2] PAST_HEARD,
       float[batch,1,2] PAST_TWICE) => (float[batch,1,2] logits, float[batch,total,2] KEY) {
  axis = Constant <value_ints = [1]> ()
  new = Gather (table, input_ids)
  KEY = Concat <axis = 1> (PAST_KEY, new)
  said = ReduceSum (KEY, axis)
  three = Constant <value_float = 0.5> ()
  half = Mul (PAST_TWICE, three)
  four = Add (half, PAST_TWICE)
  once = Sub (PAST_HEARD, PAST_HEARD)
  heard = Add (four, once)
  logits = Add (said, heard)
}"""
NAMES = {
    "PAST_": "past_key_values_",
    "KEY": "present_0_decoder_key",
    "HEARD": "present_0_encoder_key",
    "TWICE": "present_0_encoder_value",
}
TABLE = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)


def written(folder, label, text, opset=17, swapped=False):
    """One of the files; ``swapped`` gives the caches of what was heard each other's names."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    model.graph.initializer.append(numpy_helper.from_array(TABLE, "table"))
    swap = {"HEARD": "TWICE", "TWICE": "HEARD"} if swapped else {}

    def named(name):
        past, plain = name.startswith("PAST_"), name.removeprefix("PAST_")
        cache = {"KEY": "decoder.key", "HEARD": "encoder.key", "TWICE": "encoder.value"}
        plain = swap.get(plain, plain)
        return (
            name
            if plain not in cache
            else ("past_key_values" if past else "present") + f".0.{cache[plain]}"
        )

    for one in (*model.graph.input, *model.graph.output):
        one.name = named(one.name)
    for node in model.graph.node:
        node.input[:], node.output[:] = map(named, node.input), map(named, node.output)
    onnx.save_model(model, folder / f"{label}.onnx")
    return label, folder / f"{label}.onnx"


def folder_of(folder, **changed):
    texts = {ENCODER: ("encoder_model", ENCODE), FIRST: ("decoder_model", DECODE),
             NEXT: ("decoder_with_past_model", GO_ON)}  # fmt: skip
    return {role: written(folder, *one, **changed.get(one[0], {})) for role, one in texts.items()}


def answered(folder, files):
    compose(files, folder / "together.onnx")
    onnx.checker.check_model(str(folder / "together.onnx"), full_check=True)
    ids, mask = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[1, 1, 1], [1, 1, 0]])
    said = np.array([[1, 2, 3, 4, 5], [5, 6, 7, 8, 1]])
    inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": said}
    hidden = TABLE[ids] * mask[..., None]
    wanted = TABLE[said].cumsum(1) + 3 * hidden.sum(1, keepdims=True)
    logits, last = ReferenceEvaluator(str(folder / "together.onnx")).run(None, inputs)
    np.testing.assert_allclose(last, hidden, rtol=1e-6)
    return np.abs(logits - wanted).max(axis=(0, 2))


def test_each_call_gets_what_the_one_before_gave(tmp_path):
    assert answered(tmp_path, folder_of(tmp_path)).max() < 1e-5


def test_swapped_caches_show_from_the_second_call_on(tmp_path):
    error = answered(tmp_path, folder_of(tmp_path, decoder_model={"swapped": True}))
    assert error[:2].max() < 1e-5
    assert error[2:].min() > 0.1


def test_what_does_not_fit_together_is_told_in_one_sentence(tmp_path):
    other = folder_of(tmp_path, encoder_model={"opset": 18})
    with pytest.raises(Refused, match="decoder_model is of opset 17 of 'ai.onnx' and others of 18"):
        compose(other, tmp_path / "together.onnx")
    lone = {role: one for role, one in folder_of(tmp_path).items() if role != ENCODER}
    with pytest.raises(Refused, match="decoder_model has input 'encoder_hidden_states', which no"):
        compose(lone, tmp_path / "together.onnx")


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["encoder_model", "decoder_model"], {ENCODER, FIRST}),
        (["onnx/encoder_model", "onnx/decoder_model_merged"], {ENCODER, MERGED}),
        (["decoder_with_past_model", "decoder_model"], {FIRST, NEXT}),
        (["encoder", "joiner", "decoder"], {ENCODER, FIRST}),
        (["encoder_model", "encoder_model_quantized", "decoder_model"], set()),  # which one?
        (["encoder_model"], set()),
        (["resnet18-opset17", "resnet18-opset18"], set()),
    ],
)
def test_names_tell_what_a_file_is(labels, found):
    assert set(roles(labels)) == found


MERGED_TEXT = """
merged (int64[batch,new] input_ids, float[batch,past,2] PAST_KEY, bool[1] use_cache_branch)
    => (float[batch,new,2] logits, float[batch,total,2] KEY, float[batch,1,2] HEARD) {
  axis = Constant <value_ints = [1]> ()
  place = Constant <value_int = 1> ()
  new = Gather (table, input_ids)
  whole = Concat <axis = 1> (PAST_KEY, new)
  KEY = Where (use_cache_branch, whole, whole)
  said = ReduceSum (PAST_KEY, axis)
  nothing = Sub (said, said)
  before = Where (use_cache_branch, said, nothing)
  HEARD = Identity (before)
  summed = CumSum (new, place)
  logits = Add (summed, before)
}"""


@pytest.mark.parametrize("later", [False, True])
def test_a_merged_decoder_is_its_first_call_and_its_later_ones(tmp_path, later):
    label, path = written(tmp_path, "decoder_model_merged", MERGED_TEXT)
    names = one_call(label, path, tmp_path / "one.onnx", later=later)
    past = "past_key_values.0.decoder.key"
    assert names == ["input_ids", *([past] if later else [])]
    ids, key = np.array([[1, 2], [3, 4]]), np.ones((2, 3, 2), np.float32)
    fed = {"input_ids": ids, **({past: key} if later else {})}
    evaluator = ReferenceEvaluator(str(tmp_path / "one.onnx"))
    heard = [] if later else ["present.0.encoder.key"]
    assert evaluator.output_names == ["logits", "present.0.decoder.key", *heard]
    logits = evaluator.run(["logits"], fed)[0]
    np.testing.assert_allclose(logits, TABLE[ids].cumsum(1) + 3.0 * later, rtol=1e-6)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([ENCODER, FIRST, NEXT], {"files_together": 3}),
        ([ENCODER, MERGED], {"files_together": 2}),
        ([ENCODER, FIRST, NEXT, MERGED], {"files_together": 3, "files_together_merged": 2}),
    ],
)
def test_a_merged_decoder_has_a_chain_of_its_own(found, wanted):
    assert {name: len(parts) for name, parts in chains(dict.fromkeys(found)).items()} == wanted
