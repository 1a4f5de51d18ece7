"""Specs from recorded calls: dicts, keywords, dataclasses, states, and calls of ``generate``."""

import dataclasses
from collections import namedtuple

import numpy as np
import pytest
import torch

from onnx_conformance.core.domains import Choice, Mask
from onnx_conformance.core.errors import UsageError

pytestmark = pytest.mark.slow
Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass
class Answer:
    y: torch.Tensor
    h_new: torch.Tensor
    text: str = "no tensor"


class Recurrent(torch.nn.Module):
    """A cell that is given everything in a dict, and its state beside it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell = torch.nn.GRUCell(6, 5)

    def forward(self, batch, h, *, scale=1.0):
        new = self.cell(batch["x"], h) * scale
        return Answer(new.sum(1), new)

    def follow(self, steps, size):
        h = torch.zeros(size, 5)
        for _ in range(steps):
            h = self({"x": torch.randn(size, 6)}, h=h, scale=0.5).h_new


def test_a_state_is_found_by_its_values():
    from onnx_conformance import observe

    model = Recurrent()
    with observe(model) as calls, torch.inference_mode():
        model.follow(steps=3, size=2)
        model.follow(steps=2, size=4)
    assert calls.carries == {"h_new": "h"}
    assert calls.spec() == (
        'inputs=[TensorSpec("batch.x", ("batch_size", 6)), TensorSpec("h", ("batch_size", 5))], '
        "carries={'h_new': 'h'}"
    )
    again = calls.model(*map(torch.from_numpy, calls.examples[0].values()))
    assert set(again) == {"y", "h_new"}  # the scale of 0.5 is part of the model
    np.testing.assert_array_equal(again["h_new"].detach(), calls.examples[1]["h"])


def test_nothing_is_recorded_after_the_block():
    from onnx_conformance import observe

    model = torch.nn.Linear(3, 2)
    with observe(model) as calls:
        model(torch.zeros(4, 3))
    model(torch.zeros(5, 3))
    assert [len(one["input"]) for one in calls.examples] == [4]


@pytest.mark.parametrize(
    ("model", "argument", "words"),
    [
        (lambda x: x, None, "observe takes a torch.nn.Module, not a function"),
        (torch.nn.Identity(), {1, 2}, "argument 'input' is a set, which cannot be put together"),
        (torch.nn.Identity(), None, "observe saw no call of Identity"),
    ],
)
def test_what_cannot_be_observed_is_told_in_one_sentence(model, argument, words):
    from onnx_conformance import observe

    def observed():
        with observe(model) as calls:
            if argument is not None:
                model(argument)
        return calls.spec()

    with pytest.raises(UsageError, match=words):
        observed()


@pytest.mark.parametrize(
    "value",
    [[1, {"a": 2.0}], Pair(None, (3, "x")), Answer(1, 2), "text", {"k": [torch.float32]}],
)
def test_arguments_are_put_together_as_they_were(value):
    from onnx_conformance.workers.torch.calling_convention import filled, taken_apart

    one, tensors = torch.ones(2), {}
    plan = taken_apart("x", [value, {"deep": (one,)}], tensors)
    assert list(tensors) == ["x.1.deep.0"]
    assert filled(plan, {"x.1.deep.0": one}) == [value, {"deep": (one,)}]


@pytest.mark.parametrize(
    ("rows", "domain"),
    [
        ([[1, 1, 0], [1, 0, 0]], Mask()),
        ([[0, 1, 1], [1, 1, 1]], Mask(side="left")),
        ([[1, 0, 1], [1, 1, 1]], Choice((0, 1))),  # no padding: every pattern is fed
    ],
)
def test_masks_are_told_from_other_truth_values(rows, domain):
    from onnx_conformance.workers.user_model.build import built_model
    from onnx_conformance.workers.user_model.examples import specs_of_examples

    def model(mask):
        return mask.astype(np.float32)

    mask = np.array(rows, bool)
    found = specs_of_examples("m", {"mask": mask}, built_model("m", model, None))
    assert found.inputs[0].domain == domain


def test_generate_is_a_prefill_and_steps_with_a_past():
    pytest.importorskip("transformers")
    from onnx_conformance import observe
    from onnx_conformance.workers.torch.transformers_models import tiny_model

    model = tiny_model("LlamaForCausalLM", pretrained=False)[0].model
    with observe(model) as calls:
        for length in (5, 3):
            ids = torch.arange(6, 6 + 2 * length).reshape(2, length)
            mask = torch.ones_like(ids)
            mask[0, :2] = 0
            model.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False)
    first, second = calls.examples[:2]
    assert first["past_key_values.0.key"].shape == (2, 2, 0, 8)
    assert second["past_key_values.0.key"].shape == (2, 2, 5, 8)
    assert len(calls.carries) == 4
    assert calls.carries["present.1.value"] == "past_key_values.1.value"
    spec = calls.spec()
    assert '"attention_mask", ("batch_size", "input_ids_dim_1+past")' in spec
    assert "Mask(side='left')" in spec
    assert "axes={'input_ids_dim_1': (1, 5), 'past': (0, 7)}" in spec
