"""Models of transformers by pointer: what they take and give, and what is refused."""

import json
import sys

import pytest

from onnx_conformance.catalog.models import Declaration, read_pointer
from onnx_conformance.core.errors import UsageError

pytestmark = pytest.mark.slow
pytest.importorskip("transformers")
HOME = "onnx_conformance.workers.torch.transformers_models"


def spec_of(member, function="tiny_model"):
    from onnx_conformance.workers.torch import transformers_models
    from onnx_conformance.workers.user_model.describe import specify

    one = Declaration(f"hf-tiny:{member}", getattr(transformers_models, function))
    return specify(one, f"{HOME}:{function}", (member,), "calibrated", 0, threads=None)


def shapes(specs):
    return {spec.name: spec.shape for spec in specs}


def test_a_decoder_takes_new_tokens_and_the_past_of_each_layer():
    spec = spec_of("LlamaForCausalLM")
    past, present = ("batch", 2, "past", 8), ("batch", 2, "past+new", 8)
    pasts = {f"past_key_values.{n}.{kind}": past for n in range(2) for kind in ("key", "value")}
    mask = {"attention_mask": ("batch", "past+new")}
    assert shapes(spec.inputs) == {"input_ids": ("batch", "new"), **mask, **pasts}
    assert shapes(spec.outputs)["present.1.value"] == present
    assert spec.carries[0] == ("present.0.key", "past_key_values.0.key")
    assert len(spec.carries) == 4
    assert dict(spec.axes)["past"].low == 0


def test_without_a_cache_it_has_no_memory():
    spec = spec_of("LlamaForCausalLM,use_cache=False")
    assert shapes(spec.inputs) == dict.fromkeys(
        ("input_ids", "attention_mask"), ("batch", "sequence")
    )
    assert not spec.carries


def test_a_decoder_beside_an_encoder_keeps_what_that_said():
    spec = spec_of("T5ForConditionalGeneration,part=decoder")
    assert shapes(spec.inputs)["encoder_hidden_states"] == ("batch", "source", 32)
    assert len(spec.carries) == 4


def test_texts_beside_images_have_a_batch_of_their_own():
    inputs = shapes(spec_of("CLIPModel").inputs)
    assert inputs["input_ids"][0] == "texts"
    assert inputs["pixel_values"] == ("images", 3, 32, 32)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("BertModle", "transformers has no model class 'BertModle'; close: .*BertModel"),
        ("BertModel,hidden=3", "BertConfig has no 'hidden'; it has: "),
        ("BertModel,hidden_size", "'hidden_size' is no field=value"),
        ("BertModel,part=head", "part=head; one of encoder, decoder is wanted"),
        ("BertModel,part=decoder", "BertModel has no decoder beside an encoder"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_sentence(member, words):
    with pytest.raises(UsageError, match=words):
        spec_of(member)


def test_a_checkpoint_that_needs_code_of_its_own_is_refused(tmp_path):
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "auto_map": {"AutoModel": "own.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="names code of its own"):
        spec_of(str(tmp_path), "stored_model")


OWN_CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel


class Config(PretrainedConfig):
    model_type = "own"
    vocab_size = 40


class Model(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.table = torch.nn.Embedding(config.vocab_size, 4)
        self.post_init()

    def forward(self, input_ids, return_dict=True):
        return {"rows": self.table(input_ids)}
"""


def test_code_of_a_checkpoint_is_run_where_it_is_named(tmp_path, monkeypatch):
    from onnx_conformance.workers.torch.transformers_models import stored_model

    torch, weights = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    hub = pytest.importorskip("transformers.dynamic_module_utils")
    monkeypatch.setattr(hub, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    config = {"model_type": "own", "architectures": ["Model"],
              "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(OWN_CODE)
    weights.save_file({"table.weight": torch.ones(40, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="trust"):
        stored_model(str(tmp_path), pretrained=False)
    model, _ = stored_model(f"{tmp_path},trust_remote_code=True", pretrained=False)
    assert model(torch.zeros((2, 3), dtype=torch.int64))["output"].shape == (2, 3, 4)


def test_fields_of_a_stored_configuration_may_be_changed(tmp_path):
    from onnx_conformance.workers.torch.transformers_models import stored_model, tiny_model

    model, _ = tiny_model("LlamaForCausalLM", pretrained=False)
    model.model.save_pretrained(tmp_path)
    _, found = stored_model(f"{tmp_path},use_cache=False", pretrained=False)
    assert [spec.name for spec in found.inputs] == ["input_ids", "attention_mask"]
    with pytest.raises(UsageError, match="LlamaConfig has no 'used_cache'"):
        stored_model(f"{tmp_path},used_cache=False", pretrained=False)


@pytest.mark.parametrize(
    ("part", "names", "wanted"),
    [
        ("decoder_model", "encoder_attention_mask input_ids encoder_hidden_states", 9),
        (
            "decoder_with_past_model",
            "input_ids encoder_attention_mask "
            + " ".join(
                f"past_key_values.{layer}.{kind}.{which}"
                for layer in range(2)
                for kind in ("decoder", "encoder")
                for which in ("key", "value")
            ),
            5,
        ),
    ],
)
def test_a_file_of_a_folder_is_a_part_with_the_inputs_that_it_names(part, names, wanted):
    spec = spec_of(f"T5ForConditionalGeneration,part={part},inputs={names}")
    assert [one.name for one in spec.inputs] == names.split()
    assert len(spec.outputs) == wanted
    assert len(spec.carries) == (4 if "past" in part else 0)


def test_what_a_file_takes_and_nobody_knows_is_told():
    with pytest.raises(UsageError, match="takes 'use_cache_branch', which is no input that is"):
        spec_of("T5ForConditionalGeneration,part=decoder_model,inputs=input_ids use_cache_branch")


def test_files_in_a_row_are_the_whole_model():
    spec = spec_of("T5ForConditionalGeneration,part=files_together")
    assert [one.name for one in spec.inputs][-1] == "decoder_input_ids"
    assert dict(spec.axes)["target"].low == 4
    assert not spec.carries


def test_all_files_in_a_row_take_positions_where_one_of_them_does():
    without, taken = (
        shapes(spec_of(f"LlamaForCausalLM,part=files_together{names}").inputs)
        for names in ("", ",inputs=position_ids")
    )
    assert taken == {**without, "position_ids": ("batch", "sequence")}


@pytest.mark.parametrize("place", ["nowhere", "file.bin"])
def test_a_folder_that_is_none_is_told(tmp_path, place):
    (tmp_path / "file.bin").write_bytes(b"weights")
    with pytest.raises(UsageError, match="is no folder with a config.json; give the folder that"):
        spec_of(str(tmp_path / place), "stored_model")


def test_without_transformers_the_remedy_is_told(monkeypatch):
    from onnx_conformance.workers.torch.transformers_models import tiny_model

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match="not installed: pip install transformers"):
        tiny_model("BertModel", pretrained=False)


def test_a_mask_that_the_model_does_not_read_is_no_input():
    assert shapes(spec_of("RwkvForCausalLM").inputs) == {"input_ids": ("batch", "sequence")}


@pytest.mark.parametrize(
    ("member", "field", "kinds"),
    [
        ("Gemma3ForCausalLM", "layer_types", ["sliding_attention", "full_attention"]),
        ("ZambaForCausalLM", "layers_block_type", ["linear_attention", "hybrid", "hybrid"]),
    ],
)
def test_a_tiny_model_has_a_layer_of_each_kind(member, field, kinds):
    from onnx_conformance.workers.torch.transformers_models import tiny_model

    config = tiny_model(member, pretrained=False)[0].model.config
    assert sorted(getattr(config, field)) == sorted(kinds)
    assert config.num_hidden_layers == len(kinds)


def test_what_inputs_cannot_be_read_from_a_class_is_told():
    with pytest.raises(UsageError, match="refuses the inputs that were understood .*register a"):
        spec_of("LlavaForConditionalGeneration")


def test_statistics_of_norms_keep_the_outputs_alive():
    import torch

    from onnx_conformance.workers.torch.transformers_models import tiny_model

    model, _ = tiny_model("MobileViTForImageClassification", pretrained=False)
    with torch.inference_mode():
        one, other = (model(torch.randn(1, 3, 32, 32))["output"] for _ in range(2))
    assert (one - other).abs().max() > 0.01


def test_frozen_norms_have_statistics_of_their_own():
    from onnx_conformance.workers.torch.transformers_models import tiny_model

    model, _ = tiny_model("RTDetrForObjectDetection", pretrained=False)
    spread = [one for name, one in model.named_buffers() if name.endswith("running_var")]
    assert spread
    assert all(len(one.unique()) > 1 for one in spread)


def test_a_stored_checkpoint_keeps_its_weights(tmp_path):
    from onnx_conformance.workers.torch.transformers_models import stored_model, tiny_model

    model, _ = tiny_model("BertModel", pretrained=False)
    model.model.save_pretrained(tmp_path)
    again, found = stored_model(str(tmp_path), pretrained=False)
    mine, theirs = model.state_dict(), again.state_dict()
    assert all((mine[name] == theirs[name]).all() for name in theirs)
    assert [spec.name for spec in found.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    pointer = read_pointer(f"hf:{tmp_path}")
    assert pointer.name == f"hf:{tmp_path.name}"
