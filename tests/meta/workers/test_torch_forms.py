"""torch modules in the forms that people write: caches, closures, TorchScript, half precision."""

import copy
import functools
from functools import partial

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core import bfloat16
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.diagnose import reproduce
from onnx_conformance.workers.native import shares_of
from onnx_conformance.workers.onnxruntime.session_calls import call_of, make_timed_call
from onnx_conformance.workers.onnxruntime.trace import trace
from onnx_conformance.workers.torch.constants import constants_of
from onnx_conformance.workers.torch.float64 import in_float64
from onnx_conformance.workers.torch.introspect import gradients
from onnx_conformance.workers.torch.modes import AsBuilt, copied, evaluated
from onnx_conformance.workers.torch.precision import precision_of, weight_array, weight_like
from onnx_conformance.workers.user_model.describe import specify

pytestmark = pytest.mark.slow

X = TensorSpec("x", ("batch", 8))


class Caching(nn.Module):
    """Keeps a table of positions of the longest input so far."""

    def __init__(self):
        super().__init__()
        self.layer, self.table = nn.Linear(8, 8), None

    def forward(self, x):
        if self.table is None or len(self.table) < len(x):
            self.table = torch.arange(len(x), dtype=torch.float32)[:, None]
        return self.layer(x) + self.table[: len(x)]


class Hooked(nn.Module):
    """Answers what hooks wrote into a dict of its own."""

    def __init__(self):
        super().__init__()
        self.layer, self.kept = nn.Linear(8, 4), {}
        self.layer.register_forward_hook(self.keep("a"))

    def keep(self, name):
        def hook(module, inputs, result):
            self.kept[name] = result

        return hook

    def forward(self, x):
        self.layer(x)
        return self.kept["a"] * 2


def wrapped():
    """A Linear whose ``forward`` a function took the place of."""
    module = nn.Linear(8, 4)
    plain = module.forward

    @functools.wraps(plain)
    def forward(*inputs):
        return plain(*inputs) * 3

    module.forward = forward
    return module


def test_a_copy_has_what_the_module_held_before_it_was_called():
    module = Caching()
    built = AsBuilt(module)
    with torch.inference_mode():
        module(torch.zeros(9, 8))
    made = copied(module, built)
    assert made.table is None
    assert len(module.table) == 9  # and the module itself is left alone
    assert made.double()(torch.zeros(3, 8).double()).dtype == torch.float64


def test_a_copy_has_no_hooks_that_the_first_call_registered():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.hooked = nn.Linear(8, 4), False

        def forward(self, x):
            if not self.hooked:  # as transformers does, to collect hidden states
                self.inner.register_forward_hook(lambda part, given, found: found * 2)
                self.hooked = True
            return self.inner(x)

    module, x = Late(), torch.ones(2, 8)
    built = AsBuilt(module)
    with torch.inference_mode():
        first = module(x)
        assert torch.equal(copied(module, built)(x), first)
        assert torch.equal(module(x), first)  # the module itself keeps its hook


@pytest.mark.parametrize("make", [wrapped, Hooked])
def test_the_functions_of_a_copy_refer_to_the_copy(make):
    module, x = make().eval(), torch.ones(2, 8)
    with torch.no_grad():
        before = module(x).clone()
        made, plain = copied(module), copy.deepcopy(module)
        for parameter in (*made.parameters(), *plain.parameters()):
            parameter.zero_()
        assert torch.equal(module(x), before)
        assert not made(x).any()
        assert plain(x).any()  # why: torch's own copy answers with the original's numbers


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_parts_of_torchscript_are_used_and_take_no_hooks():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.spare = torch.jit.script(nn.Linear(8, 4)), nn.Linear(8, 4)

        def forward(self, x):
            return self.inner(x)

    assert constants_of(Net(), [(torch.zeros(2, 8),)]).idle == {"spare.bias", "spare.weight"}


def test_a_module_of_torch_export_stays_in_its_mode():
    made = torch.export.export(nn.Linear(8, 4), (torch.zeros(2, 8),)).module()
    assert evaluated(made)(torch.ones(2, 8)).shape == (2, 4)


def test_a_complex_table_is_widened_and_cut():
    table = torch.polar(torch.ones(6, 4), torch.rand(6, 4))
    with torch.no_grad(), in_float64():
        assert (torch.ones(3, 4, dtype=torch.complex64) * table[:3]).dtype == torch.complex128


class Rotating(nn.Module):
    """Turns pairs by a table of complex numbers, the last of which nothing reads."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.polar(torch.ones(5), torch.rand(5)))

    def forward(self, x):
        pairs = torch.view_as_complex(x.reshape(-1, 4, 2))
        return torch.view_as_real(pairs * self.table[:4]).flatten(1)


def test_complex_weights_are_pairs_of_numbers_and_their_influence_is_known():
    module = Rotating()
    stored = weight_array(module.table)
    assert (stored.shape, stored.dtype) == ((5, 2), np.float32)
    assert torch.equal(weight_like(stored, module.table), module.table)
    found = gradients(module, ["table"], [(torch.ones(1, 8),)])
    assert shares_of(found, ["table"], 1e-3) == {"table": 0.8}


class Mixed(nn.Module):
    """Multiplies in half precision; takes and gives float32."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(8, 4).to(kind)

    def forward(self, x):
        return self.layer(x.to(self.kind)).float()


@pytest.mark.parametrize(
    ("kind", "name"), [(torch.float16, "float16"), (torch.bfloat16, "bfloat16")]
)
def test_a_model_that_multiplies_in_half_precision_is_of_that_class(kind, name):
    module, x = Mixed(kind), torch.randn(3, 8)
    assert precision_of(lambda: module(x)) == (name, set())
    with torch.no_grad(), in_float64(name):
        found = copy.deepcopy(module).double()(x.double())
    weight, bias = module.layer.weight.double(), module.layer.bias.double()
    torch.testing.assert_close(found, x.double() @ weight.T + bias, rtol=1e-12, atol=1e-12)


def test_narrow_weights_that_are_widened_before_use_leave_it_float32():
    module = nn.Linear(8, 4).bfloat16()
    x = torch.zeros(2, 8)
    assert precision_of(lambda: nn.functional.linear(x, module.weight.float()))[0] == "float32"
    assert precision_of(lambda: module(x.bfloat16()))[0] == "bfloat16"


def test_outputs_that_nothing_in_half_precision_reaches_are_known():
    x, weight = torch.randn(3, 8), torch.randn(8, 8)

    def call():
        half = (x.half() @ weight.half()).float()
        mixed, views = x.clone(), half[:, 1:]
        mixed[:, :4] = half[:, :4]
        return {
            "plain": x @ weight,
            "half": half.tanh(),
            "mixed": mixed.view(-1),
            "part": views + 1,
        }

    assert precision_of(call) == ("float16", {0})


def described(make, *inputs):
    name = "one"
    return specify(
        Declaration(name, make, inputs=inputs or (X,)), "m:f", (), "calibrated", 0, threads=None
    )


def test_the_spec_says_in_what_a_model_computes():
    assert described(lambda: Mixed(torch.float16)).precision == "float16"
    brain = described(lambda: nn.Linear(8, 4).bfloat16(), TensorSpec("x", ("batch", 8), "bfloat16"))
    assert (brain.precision, brain.outputs[0].dtype) == ("bfloat16", "bfloat16")
    assert described(lambda: nn.Linear(8, 4)).precision == "float32"


class Counting(nn.Module):
    """Counts its calls, or moves a floating buffer where told to."""

    def __init__(self, dtype):
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.register_buffer("calls", torch.zeros((), dtype=dtype))

    def forward(self, x):
        self.calls += 1
        return self.layer(x)


def test_a_counter_of_calls_is_no_weight():
    assert described(lambda: Counting(torch.int64)).outputs[0].shape == ("batch", 4)
    with pytest.raises(UsageError, match="changes its own weights"):
        described(lambda: Counting(torch.float32))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_packed_weights_of_eight_bits_are_refused_with_what_to_hand_in():
    def quantised():
        net = nn.Sequential(nn.Linear(8, 4))
        return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)

    with pytest.raises(UsageError, match="hand in the model as it was before convert"):
        described(quantised)


def test_bfloat16_is_rounded_as_torch_does():
    numbers = np.random.default_rng(0).standard_normal(10_000).astype(np.float32) * 10.0**3
    numbers[:4] = [np.inf, -np.inf, np.nan, 3.4e38]
    expected = torch.from_numpy(numbers).bfloat16().float().numpy()
    np.testing.assert_array_equal(bfloat16.rounded(numbers), expected)
    np.testing.assert_array_equal(bfloat16.from_bits(bfloat16.to_bits(expected[3:])), expected[3:])


def test_a_session_takes_and_gives_bfloat16(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "wide"], ["square"]),
        helper.make_node("Cast", ["square"], ["y"], to=TensorProto.BFLOAT16),
    ]
    sides = [
        helper.make_tensor_value_info(name, TensorProto.BFLOAT16, ["batch", 3]) for name in "xy"
    ]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "model.onnx")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = bfloat16.rounded(np.linspace(-2, 2, 6).reshape(2, 3))
    for run in (call_of(session), partial(reproduce.run, session)):
        (found,) = run(["y"], {"x": x})
        np.testing.assert_array_equal(found, bfloat16.rounded(x * x))
        (none,) = run(["y"], {"x": x[:0]})
        assert none.shape == (0, 3)
    timed = make_timed_call("plain", session, "CPUExecutionProvider", {"x": x})
    np.testing.assert_array_equal(timed.arrays(timed.call())["y"], bfloat16.rounded(x * x))
    options = ort.SessionOptions()
    traced = trace(tmp_path / "model.onnx", {"x": x}, ["square", "y"], tmp_path, options)
    assert set(traced) == {"square", "y"}
