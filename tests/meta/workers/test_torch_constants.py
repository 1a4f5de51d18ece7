"""What a torch module computes of its parameters alone, which of them it reads, and how far."""

import copy
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")

from torch._higher_order_ops.while_loop import while_loop  # noqa: E402

from onnx_conformance.core.native_constants import read_constants, write_constants  # noqa: E402
from onnx_conformance.workers.native import perturbed, shares_of  # noqa: E402
from onnx_conformance.workers.torch.constants import constants_of  # noqa: E402
from onnx_conformance.workers.torch.introspect import gradients  # noqa: E402
from onnx_conformance.workers.torch.modes import copied  # noqa: E402

pytestmark = pytest.mark.slow

X = torch.linspace(-1, 1, 8).reshape(2, 4)


class Product(torch.nn.Module):
    """A weight made of two factors, one of them through an exponential."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (torch.nn.Parameter(torch.randn(4, 4)) for _ in range(2))
        self.token = torch.nn.Parameter(torch.randn(4))

    def forward(self, x):
        if self.training:
            x = x + self.token
        return x @ (self.a * self.b.exp()).t()


def test_what_depends_on_no_input_is_recorded_with_what_it_is_made_of():
    module = Product().eval()
    found = constants_of(module, [(X,)])
    used = [record for record in found.records if record["used"]]
    assert len(used) == 1
    steps = {record["name"]: record for record in found.records}
    assert used[0]["operands"][0] == "a"
    assert steps[used[0]["operands"][1]]["operands"] == ["b"]
    expected = (module.a * module.b.exp()).detach().numpy()
    np.testing.assert_allclose(found.values[used[0]["name"]].exact, expected, rtol=1e-6)
    assert found.idle == {"token"}


def test_a_parameter_that_meets_an_input_is_used_itself():
    found = constants_of(torch.nn.Linear(4, 3), [(X,)])
    assert {r["name"] for r in found.records if r["used"]} == {"weight", "bias"}
    assert not found.values


def test_what_one_of_two_examples_reads_is_not_idle():
    class Branch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (torch.nn.Parameter(torch.ones(4)) for _ in range(2))

        def forward(self, x):
            return x * (self.a if x.sum() > 0 else self.b)

    module = Branch()
    assert constants_of(module, [(torch.ones(2, 4),)]).idle == {"b"}
    assert not constants_of(module, [(torch.ones(2, 4),), (-torch.ones(2, 4),)]).idle


class Pooled(torch.nn.Module):
    """A hidden state, and what is made of it by a second layer, which may be thrown away."""

    def __init__(self, use):
        super().__init__()
        self.use = use
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    def forward(self, x):
        hidden = self.first(x)
        return self.use(hidden, self.second(hidden).tanh())


def _written_into(hidden, pooled):
    hidden = hidden * 1
    hidden[:, 0] = pooled[:, 0]
    return hidden


def _deciding(hidden, pooled):
    return hidden if pooled.sum() > 0 else -hidden


class Unknown:
    """A container that torch knows nothing of."""

    def __init__(self, hidden, pooled):
        self.parts = hidden, pooled


def test_a_weight_whose_results_are_thrown_away_is_idle():
    module = Pooled(lambda hidden, pooled: hidden)
    assert constants_of(module, [(X,)]).idle == {"second.weight", "second.bias"}


@pytest.mark.parametrize(
    "use",
    [
        lambda hidden, pooled: (hidden, {"pooled": pooled}),
        lambda hidden, pooled: hidden.gather(1, pooled.argmax(1, keepdim=True)),
        _written_into,
        _deciding,
        Unknown,
    ],
    ids=["output", "index", "written into", "deciding", "unknown container"],
)
def test_a_weight_whose_results_reach_an_output_is_not_idle(use):
    assert not constants_of(Pooled(use), [(X,)]).idle


def test_statistics_of_the_batch_are_counted_those_of_a_weight_are_not():
    norm = torch.nn.BatchNorm1d(4, track_running_stats=False).eval()
    assert constants_of(norm, [(X,)]).batch_statistics == 1
    assert constants_of(torch.nn.BatchNorm1d(4).eval(), [(X,)]).batch_statistics == 0

    class Standardised(torch.nn.Linear):
        def forward(self, x):
            weight = torch.nn.functional.batch_norm(self.weight.t(), None, None, training=True)
            return torch.nn.functional.linear(x, weight.t())

    assert constants_of(Standardised(4, 3).eval(), [(X,)]).batch_statistics == 0


def test_values_are_kept_beside_the_weights(tmp_path):
    found = constants_of(Product().eval(), [(X,)])
    write_constants(str(tmp_path / "weights.npz"), found.values)
    read = read_constants(tmp_path / "weights.npz")
    assert read.keys() == found.values.keys()
    assert not read_constants(tmp_path / "elsewhere" / "weights.npz")


def test_an_output_tells_of_the_rows_that_were_asked_for():
    table = torch.nn.Embedding(10, 4)
    ids = torch.arange(6).reshape(2, 3)
    shares = shares_of(gradients(table, ["weight"], [(ids,)]), ["weight"], 1e-3)
    assert shares == {"weight": pytest.approx(0.6)}
    assert not table.weight.grad
    idle = Product().eval()
    shares = shares_of(gradients(idle, ["a", "token"], [(X,)]), ["a", "token"], 1e-3)
    assert shares["a"] > 0.9
    assert shares["token"] == 0.0


def test_a_parameter_without_axes_has_replicas():
    scalar = np.array(1.3, np.float32)
    other = perturbed("scale", scalar, "replica-1")
    assert isinstance(other, np.ndarray)
    assert other.shape == ()
    assert 0 < abs(float(other) - 1.3) < 1e-6 or other == scalar


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_module_that_keeps_what_autograd_made_can_be_copied():
    module = torch.nn.utils.weight_norm(torch.nn.Linear(4, 3))
    module(X)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(module)
    assert torch.equal(copied(module)(X), module(X))


def test_what_is_overwritten_in_part_is_no_copy_any_more():
    """Swin v2 clears the keys' part of a bias, of which it made a copy."""

    class Cleared(torch.nn.Linear):
        def forward(self, x):
            bias = self.bias.clone()
            bias[1:2].zero_()
            return torch.nn.functional.linear(x, self.weight, bias)

    module = Cleared(4, 3).eval()
    found = constants_of(module, [(X,)])
    used = [record["name"] for record in found.records if record["used"]]
    assert "weight" in used
    assert "bias" not in used
    (made,) = (name for name in used if name != "weight")
    expected = module.bias.detach().numpy() * np.array([1, 0, 1])
    np.testing.assert_array_equal(found.values[made].native, expected.astype(np.float32))
    assert not found.idle


def test_what_an_input_is_written_into_depends_on_it():
    class Written(torch.nn.Module):
        def forward(self, x):
            room = torch.zeros(2, 8)
            room[:, :4] = x
            return room * 2

    found = constants_of(Written(), [(X,)])
    assert not [record for record in found.records if record["used"] and "mul" in record["name"]]


class Branching(torch.nn.Module):
    """Reads one layer or the other, and nobody reads ``spare``."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.spare = (torch.nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: self.a(x), lambda x: self.b(x), (x,))


class Looping(torch.nn.Module):
    """Reads a layer in a loop, and nobody reads ``spare``."""

    def __init__(self):
        super().__init__()
        self.a, self.spare = (torch.nn.Linear(4, 4) for _ in range(2))

    def forward(self, x):
        start = torch.tensor(0)
        return while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, self.a(y)), (start, x))[1]


@pytest.mark.parametrize("make", [Branching, Looping])
def test_both_branches_and_the_body_of_a_loop_are_read(make):
    found = constants_of(make().eval(), [(X,)])
    assert found.idle == {"spare.weight", "spare.bias"}
    assert not found.constant_outputs


class OfSizes(torch.nn.Module):
    """Its second output is 1 for each sample, in the words of ``write``."""

    def __init__(self, write):
        super().__init__()
        self.scale, self.write = torch.nn.Parameter(torch.tensor(0.0)), write

    def forward(self, x):
        return 2 * x, self.write(self, x[:, 0])


@pytest.mark.parametrize(
    ("write", "constant"),
    [
        (lambda net, x: 1 + 0 * x, True),
        (lambda net, x: x * 0.0 + 1, True),
        (lambda net, x: torch.ones_like(x), True),
        (lambda net, x: x.new_full(x.shape, 1.0), True),
        (lambda net, x: 1 + net.scale * x, False),  # a weight that is 0 now
        (lambda net, x: 1 + 0 * x + 1e-9 * x, False),
        (lambda net, x: torch.zeros_like(x) + x, False),
    ],
)
def test_what_follows_the_batch_alone_is_constant(write, constant):
    found = constants_of(OfSizes(write).eval(), [(X,)])
    assert found.constant_outputs == ((1,) if constant else ())


def test_a_table_of_zeros_that_an_input_is_written_to_is_no_constant():
    def write(net, x):
        table = torch.zeros_like(x)
        table[:1] = x[:1]
        return table

    assert constants_of(OfSizes(write).eval(), [(X,)]).constant_outputs == ()
