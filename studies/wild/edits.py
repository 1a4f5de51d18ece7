"""Small models of torch, and files of them that somebody edited: rightly, or with one fault."""

from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper, parser
from torch import nn

from onnx_conformance import Integers, TensorSpec, register_model

FOLDER = Path(__file__).parents[2] / ".conformance" / "wild" / "edits"
IDS = TensorSpec("ids", ("batch", "seq"), "int64", domain=Integers(0, 200))
IMAGE = TensorSpec("image", ("batch", 3, "height", "width"))


class Tagger(nn.Module):
    """Tokens and places to tags."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(200, 16), nn.Embedding(48, 16)
        self.norm, self.a, self.b = nn.LayerNorm(16), nn.Linear(16, 24), nn.Linear(24, 6)

    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        return self.b(F.leaky_relu(self.a(self.norm(x))))


class Grader(nn.Module):
    """Whole numbers and truth values alone come out."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(20, 32), nn.Linear(32, 32), nn.Linear(32, 5)

    def forward(self, x):
        y = self.c(F.silu(self.b(F.elu(self.a(x)))))
        return y.argmax(-1), (y > 0.05).sum(-1)


class Pyramid(nn.Module):
    """Halved, and back to the size it had."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(11, 4, 1)

    def forward(self, image):
        y = F.relu(self.a(F.pad(image, (1, 1, 1, 1), mode="reflect")))
        y = F.avg_pool2d(y, 3, 2, 1)
        y = F.interpolate(y, size=(image.shape[2], image.shape[3]), mode="nearest")
        return self.b(torch.cat([y, image], 1))


class Reader(nn.Module):
    """A GRU's last state, normalised."""

    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(6, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x):
        return F.normalize(self.out(self.rnn(x)[0][:, -1]), dim=-1)


MODELS = {
    "tagger": (Tagger, [IDS], {"seq": (1, 48)}),
    "grader": (Grader, [TensorSpec("x", ("batch", 20))], {}),
    "pyramid": (Pyramid, [IMAGE], {"height": (8, 24), "width": (8, 24)}),
    "reader": (Reader, [TensorSpec("x", ("batch", "seq", 6))], {"seq": (1, 30)}),
}


def put(model, at, text, names, **constants):
    """Put nodes at a place of the graph, with other names for some of the text's."""
    graph = parser.parse_graph("g (float[1] a) => (float[1] b) {" + text + "}")
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:at], *graph.node, *nodes[at:]])
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))


def after(model, tensor, text, **constants):
    """Put nodes behind the one that gives ``tensor``: they read ``old`` and give ``new``."""
    at = next(i for i, node in enumerate(model.graph.node) if tensor in node.output)
    outputs = model.graph.node[at].output
    outputs[list(outputs).index(tensor)] = f"{tensor}_old"
    put(model, at + 1, text, {"old": f"{tensor}_old", "new": tensor}, **constants)


def first(model, kind, number=0):
    """The ``number``-th node of an operator."""
    return [node for node in model.graph.node if node.op_type == kind][number]


def attribute(model, kind, name, value, number=0):
    node = first(model, kind, number)
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def weight(model, name, change):
    for tensor in model.graph.initializer:
        if tensor.name == name:
            array = numpy_helper.to_array(tensor).copy()
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(array)), name))
            return
    raise KeyError(name)


def swapped(one, other):
    def change(table):
        table[[one, other]] = table[[other, one]]
        return table

    return change


def norm_by_hand(model, spread="sd = Sqrt(ve) c = Div(xm, sd)"):
    """LayerNormalization in small operators; with ``spread``, how the deviation divides."""
    node = first(model, "LayerNormalization")
    at = list(model.graph.node).index(node)
    names = dict(zip(("x", "g", "b", "y"), (*node.input, *node.output), strict=True))
    model.graph.node.remove(node)
    text = f"""m = ReduceMean <keepdims = 1> (x, last) xm = Sub(x, m) sq = Pow(xm, two)
    va = ReduceMean <keepdims = 1> (sq, last) ve = Add(va, tiny) {spread}
    cg = Mul(c, g) y = Add(cg, b)"""
    constants = {"last": [-1], "two": np.float32(2), "tiny": np.float32(1e-5)}
    put(model, at, text, names, **constants)


def ids_through(model, text, **constants):
    """What the table of tokens is asked for: ``new`` of the ``ids``."""
    first(model, "Gather").input[1] = "new"
    put(model, 0, text, {}, **constants)


LENGTH = "n1 = Shape <start = 1, end = 2> (ids) n = Squeeze(n1)"
ROWS = "n1 = Shape <start = 0, end = 1> (%s) n = Squeeze(n1)"
WORSE = "worse = Neg(old) new = Where(when, worse, old)"


def place_shift(model, when, **constants):
    """Positions one further where ``when``."""
    at = first(model, "Range").output[0]
    text = f"{LENGTH} {when} i = Cast <to = 7> (when) o = Add(old, i) new = Clip(o, zero, most)"
    after(model, at, text, zero=np.int64(0), most=np.int64(47), **constants)


def merged_gemm(model):
    """Right: a Gemm's kernel stored the other way round."""
    node = first(model, "Gemm")
    weight(model, node.input[1], lambda w: w.T)
    attribute(model, "Gemm", "transB", 0)


def scaled_apart(model):
    """Right: a layer divided by 4, and its answer multiplied by it."""
    node = first(model, "Gemm", 2)
    weight(model, node.input[1], lambda w: w / 4)
    weight(model, node.input[2], lambda w: w / 4)
    after(model, node.output[0], "new = Mul(old, four)", four=np.float32(4))


EDITS = {
    "tagger_places_swapped": lambda m: weight(m, "places.weight", swapped(30, 31)),
    "tagger_tokens_swapped": lambda m: weight(m, "tokens.weight", swapped(17, 180)),
    "tagger_wrong_in_sevens": lambda m: after(
        m, "y0", f"{ROWS % 'ids'} r = Mod(n, k) when = Equal(r, zero) {WORSE}", k=7, zero=0
    ),
    "tagger_wrong_at_31": lambda m: after(m, "y0", f"{LENGTH} when = Equal(n, k) {WORSE}", k=31),
    "tagger_wrong_from_44": lambda m: after(
        m, "y0", f"{LENGTH} when = GreaterOrEqual(n, k) {WORSE}", k=44
    ),
    "tagger_wrong_alone": lambda m: after(m, "y0", f"{LENGTH} when = Equal(n, k) {WORSE}", k=1),
    "tagger_shifted_when_even": lambda m: place_shift(
        m, "r = Mod(n, k) when = Equal(r, nil)", k=2, nil=0
    ),
    "tagger_last_id_lost": lambda m: ids_through(
        m, "new = Clip(ids, zero, last)", zero=0, last=198
    ),
    "tagger_ids_in_bytes": lambda m: ids_through(
        m, "i = Cast <to = 2> (ids) new = Cast <to = 7> (i)"
    ),
    "tagger_ids_in_signed_bytes": lambda m: ids_through(
        m,
        "i = Cast <to = 3> (ids) j = Cast <to = 7> (i) new = Clip(j, zero, last)",
        zero=0,
        last=199,
    ),
    "tagger_epsilon": lambda m: attribute(m, "LayerNormalization", "epsilon", 1e-3),
    "tagger_norm_by_hand": norm_by_hand,
    "tagger_norm_inverted": lambda m: norm_by_hand(m, "sd = Sqrt(ve) c = Div(sd, xm)"),
    "tagger_norm_unrooted": lambda m: norm_by_hand(m, "c = Div(xm, ve)"),
    "tagger_slope": lambda m: attribute(m, "LeakyRelu", "alpha", 0.011),
    "tagger_double_island": lambda m: after(
        m, first(m, "LeakyRelu").output[0], "d = Cast <to = 11> (old) new = Cast <to = 1> (d)"
    ),
    "tagger_half_island": lambda m: after(
        m, first(m, "LeakyRelu").output[0], "d = Cast <to = 10> (old) new = Cast <to = 1> (d)"
    ),
    "grader_threshold": lambda m: weight_of_threshold(m, 0.06),
    "grader_elu": lambda m: attribute(m, "Elu", "alpha", 1.05),
    "grader_hard_swish": lambda m: hard_swish(m),
    "grader_ties_last": lambda m: attribute(m, "ArgMax", "select_last_index", 1),
    "grader_other_way_round": merged_gemm,
    "grader_scaled_apart": scaled_apart,
    "pyramid_edge": lambda m: attribute(m, "Pad", "mode", "edge"),
    "pyramid_nearest_ceil": lambda m: attribute(m, "Resize", "nearest_mode", "ceil"),
    "pyramid_half_pixel": lambda m: attribute(
        m, "Resize", "coordinate_transformation_mode", "half_pixel"
    ),
    "pyramid_counts_no_padding": lambda m: attribute(m, "AveragePool", "count_include_pad", 0),
    "pyramid_wrong_when_tall": lambda m: after(
        m,
        "y0",
        f"h = Shape <start = 2, end = 3> (image) w = Shape <start = 3> (image) "
        f"d = Sub(h, w) when0 = Greater(d, k) when = Squeeze(when0) {WORSE}",
        k=12,
    ),
    "reader_gates": lambda m: attribute(m, "GRU", "linear_before_reset", 0),
    "reader_wrong_above_8": lambda m: after(
        m, "y0", f"{ROWS % 'x'} when = Greater(n, k) {WORSE}", k=8
    ),
    "reader_no_floor": lambda m: no_floor(m),
}


def weight_of_threshold(model, value):
    name = first(model, "Greater").input[1]
    made = next(node for node in model.graph.node if name in node.output)
    del made.attribute[:]
    array = numpy_helper.from_array(np.array(value, np.float32))
    made.attribute.append(onnx.helper.make_attribute("value", array))


def hard_swish(model):
    node = first(model, "Sigmoid")
    node.op_type = "HardSigmoid"
    node.attribute.append(onnx.helper.make_attribute("alpha", 1 / 6))


def no_floor(model):
    """Right: the floor of a norm that is far above it may go."""
    node = first(model, "Clip")
    node.op_type = "Identity"
    del node.input[1:]


def registered(name):
    builder, inputs, axes = MODELS[name.split("_")[0]]
    register_model(name, inputs=inputs, axes=axes)(builder)


for _name in EDITS:
    registered(_name)


def export(name, path):
    """Write the edited file of a model with the suite's own weights."""
    from studies.wild.eager_comparison import built, declared, drawn

    one = declared(Path(__file__))[name]
    inputs = drawn(one, 3, 0.5)
    dynamic = {
        spec.name: {i: a for i, a in enumerate(spec.shape) if isinstance(a, str)}
        for spec in one.inputs
    }
    module = built(one)
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=["y0"] if not name.startswith("grader") else ["y0", "y1"],
        dynamic_axes=dynamic,
        opset_version=18,
        dynamo=False,
    )
    model = onnx.load(path)
    EDITS[name](model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
