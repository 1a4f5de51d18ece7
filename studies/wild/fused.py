"""Graphs in ONNX's own operators, and beside each the operator of ONNX Runtime that fuses them.

The model ``name`` is the plain file, ``export(name)`` the fused one; of ``name_wrong`` it has one
attribute or input that is wrong.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from onnx_conformance import register_model

FOLDER = Path(__file__).parents[2] / ".conformance" / "wild" / "fused"
RNG = np.random.default_rng(11)
ROWS = "(float[batch,seq,32] x) => (float[batch,seq,32] y)"
MASKED = "(float[batch,seq,32] x, int32[batch,seq] mask) => (float[batch,seq,32] y)"
WIDE = "(float[batch,seq,64] x) => (float[batch,seq,64] y)"
IMAGE = "(float[batch,3,14,14] x) => (float[batch,8,14,14] y)"


def weight(*shape):
    """Normal numbers that keep what a product gives near 1."""
    size = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
    return (RNG.standard_normal(shape) / np.sqrt(size)).astype(np.float32)


def angles(half):
    return np.outer(np.arange(64), 1e4 ** -(np.arange(half) / half))


W = {name: weight(32, 32) for name in ("wq", "wk", "wv", "wo")}
W |= {name: weight(32) for name in ("bq", "bk", "bv", "b")} | {"g": 1 + weight(32)}
W |= {
    "wqkv": np.hstack([W["wq"], W["wk"], W["wv"]]),
    "bqkv": np.hstack([W["bq"], W["bk"], W["bv"]]),
}
W |= {"heads": np.array([0, 0, 4, 8]), "joined": np.array([0, 0, 32]), "scale": 8**-0.5}
W |= {"one": 1.0, "hidden": -10000.0, "two": 2.0, "eps": 1e-5, "quick": 1.702}
W |= {"axis1": np.array([1]), "axes12": np.array([1, 2]), "last": np.array([-1])}
W |= {"first": np.array([0]), "int0": np.int64(0), "int1": np.int64(1), "axes01": np.array([0, 1])}
W |= {"kernel": weight(8, 3, 3, 3), "kernel2": weight(8, 8, 3, 3), "kb": weight(8)}
W |= {"cos": np.cos(angles(4)), "sin": np.sin(angles(4)), "halves": np.array([4, 4])}
G = {"wq": weight(64, 64), "wk": weight(64, 32), "wv": weight(64, 32), "halves": np.array([8, 8])}
G |= {"cos": np.cos(angles(8)), "sin": np.sin(angles(8)), "scale": 0.25, "lowest": -3e38}
G |= {"heads": np.array([0, 0, 4, 16]), "pair": np.array([0, 0, 2, 16]), "axis2": np.array([2])}
G |= {"joined": np.array([0, 0, 64]), "doubled": np.array([0, 4, -1, 16])}

QKV = """q0 = MatMul(x, wq) q = Add(q0, bq) k0 = MatMul(x, wk) k = Add(k0, bk)
    v0 = MatMul(x, wv) v = Add(v0, bv)"""
SCORES = """q1 = Reshape(q, heads) q2 = Transpose <perm = [0, 2, 1, 3]> (q1)
    k1 = Reshape(k, heads) k2 = Transpose <perm = [0, 2, 3, 1]> (k1)
    v1 = Reshape(v, heads) v2 = Transpose <perm = [0, 2, 1, 3]> (v1)
    s0 = MatMul(q2, k2) s = Mul(s0, scale)"""
MASK = """m0 = Unsqueeze(mask, axes12) m1 = Cast <to = 1> (m0) m2 = Sub(one, m1)
    m3 = Mul(m2, hidden) t = Add(s, m3)"""
MIXED = """a = Softmax <axis = -1> (t) o0 = MatMul(a, v2) o1 = Transpose <perm = [0, 2, 1, 3]> (o0)
    o = Reshape(o1, joined) y = MatMul(o, wo)"""
PLACES = """n0 = Shape <start = 1, end = 2> (x) n = Squeeze(n0, first)
    places = Range(int0, n, int1)"""
TURNS = """c0 = Gather(cos, places) c = Unsqueeze(c0, axes01)
    d0 = Gather(sin, places) d = Unsqueeze(d0, axes01)"""


def turned(name, into):
    """Rotary positions of ``name``, in halves."""
    return f"""{name}_a, {name}_b = Split <axis = 3> ({name}, halves)
    {name}_1 = Mul({name}_a, c) {name}_2 = Mul({name}_b, d) {name}_3 = Sub({name}_1, {name}_2)
    {name}_4 = Mul({name}_a, d) {name}_5 = Mul({name}_b, c) {name}_6 = Add({name}_4, {name}_5)
    {into} = Concat <axis = 3> ({name}_3, {name}_6)"""


def root_mean_square(name):
    return f"""p = Pow({name}, two) p1 = ReduceMean <keepdims = 1> (p, last) p2 = Add(p1, eps)
    p3 = Sqrt(p2) p4 = Div({name}, p3) y = Mul(p4, g)"""


GROUPED = f"""{PLACES} {TURNS} q0 = MatMul(x, wq) q1 = Reshape(q0, heads)
    q = Transpose <perm = [0, 2, 1, 3]> (q1) k0 = MatMul(x, wk) k1 = Reshape(k0, pair)
    k = Transpose <perm = [0, 2, 1, 3]> (k1) v0 = MatMul(x, wv) v1 = Reshape(v0, pair)
    v = Transpose <perm = [0, 2, 1, 3]> (v1) {turned("q", "qt")} {turned("k", "kt")}
    ku = Unsqueeze(kt, axis2) kc = Concat <axis = 2> (ku, ku) kr = Reshape(kc, doubled)
    vu = Unsqueeze(v, axis2) vc = Concat <axis = 2> (vu, vu) vr = Reshape(vc, doubled)
    kx = Transpose <perm = [0, 1, 3, 2]> (kr) s0 = MatMul(qt, kx) s = Mul(s0, scale)
    square = Concat <axis = 0> (n0, n0) ones = Expand(one, square)
    upper = Trilu <upper = 1> (ones, int1) low = Mul(upper, lowest) t = Add(s, low)
    a = Softmax <axis = -1> (t) o0 = MatMul(a, vr) o1 = Transpose <perm = [0, 2, 1, 3]> (o0)
    y = Reshape(o1, joined)"""


def grouped(attributes=""):
    return f"""n0 = Shape <start = 1, end = 2> (x) n1 = Squeeze(n0, first) n = Cast <to = 6> (n1)
    rows = Shape <start = 0, end = 1> (x) n2 = Sub(n0, axis1) n3 = Expand(n2, rows)
    past = Cast <to = 6> (n3) q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)
    none = Constant <value_ints = [2, 0, 16]> () shape = Concat <axis = 0> (rows, none)
    empty = ConstantOfShape(shape) y, keys, values = com.microsoft.GroupQueryAttention
    <num_heads = 4, kv_num_heads = 2, do_rotary = 1{attributes}>
    (q, k, v, empty, empty, past, n, cos, sin)"""


@dataclass(frozen=True)
class Fusion:
    """A plain graph, the graph with the fused operator, and that with one fault."""

    ends: str
    plain: str
    right: str
    wrong: str
    weights: dict = field(default_factory=dict)


def one(ends, plain, fused, right, wrong, **weights):
    return Fusion(ends, plain, fused.replace("@", right), fused.replace("@", wrong), weights)


MS = "com.microsoft."
GELU = "h0 = MatMul(x, wq) h1 = Add(h0, b) h = Gelu%s (h1) y = MatMul(h, wo)"
BIAS_GELU = f"h0 = MatMul(x, wq) h = {MS}@(h0, b) y = MatMul(h, wo)"
NORM = "y = LayerNormalization <axis = -1, epsilon = 1e-5> (h, g, b)"
SKIP = f"h = MatMul(x, wq) y = {MS}SkipLayerNormalization <epsilon = @>"
FUSIONS = {
    "fused_attention": one(
        MASKED,
        QKV + SCORES + MASK + MIXED,
        f"o = {MS}Attention <num_heads = @> (x, wqkv, bqkv, mask) y = MatMul(o, wo)",
        "4",
        "8",
    ),
    "fused_attention_causal": one(
        ROWS,
        QKV + SCORES + "t = Identity(s)" + MIXED,
        f"o = {MS}Attention <num_heads = 4, unidirectional = @> (x, wqkv, bqkv) y = MatMul(o, wo)",
        "0",
        "1",
    ),
    "fused_multi_head_attention": one(
        MASKED,
        QKV + SCORES + MASK + MIXED,
        f"{QKV} o = {MS}MultiHeadAttention <num_heads = 4, scale = @> (q, k, v, , mask)"
        "y = MatMul(o, wo)",
        "0.0",
        "0.4",
    ),
    "fused_packed_bias": one(
        ROWS,
        QKV + SCORES + "t = Identity(s)" + MIXED,
        "q0 = MatMul(x, wq) k0 = MatMul(x, wk) v0 = MatMul(x, wv)"
        f"o = {MS}MultiHeadAttention <num_heads = 4> (@, v0, bqkv) y = MatMul(o, wo)",
        "q0, k0",
        "k0, q0",
    ),
    "fused_rotary_embedding": one(
        "(float[batch,seq,32] x) => (float[batch,4,seq,8] y)",
        f"{PLACES} {TURNS} q0 = MatMul(x, wq) q1 = Reshape(q0, heads)"
        f"q = Transpose <perm = [0, 2, 1, 3]> (q1) {turned('q', 'y')}",
        f"{PLACES} rows = Shape <start = 0, end = 1> (x) shape = Concat <axis = 0> (rows, n0)"
        "p0 = Unsqueeze(places, first) p = Expand(p0, shape) q0 = MatMul(x, wq)"
        "q1 = Reshape(q0, heads) q = Transpose <perm = [0, 2, 1, 3]> (q1)"
        f"y = {MS}RotaryEmbedding <interleaved = @> (q, p, cos, sin)",
        "0",
        "1",
    ),
    "fused_grouped_query": Fusion(WIDE, GROUPED, grouped(), grouped(", rotary_interleaved = 1"), G),
    "fused_grouped_window": Fusion(WIDE, GROUPED, grouped(), grouped(", local_window_size = 4"), G),
    "fused_skip_norm": one(
        ROWS, f"h0 = MatMul(x, wq) h = Add(h0, x) {NORM}", f"{SKIP} (h, x, g, b)", "1e-5", "1e-3"
    ),
    "fused_skip_norm_bias": one(
        ROWS,
        f"h0 = MatMul(x, wq) h1 = Add(h0, bq) h = Add(h1, x) {NORM}",
        f"{SKIP.replace('@', '1e-5')} (h, x, g, b@)",
        ", bq",
        "",
    ),
    "fused_rms_norm": one(
        ROWS,
        "h = MatMul(x, wq)" + root_mean_square("h"),
        "h = MatMul(x, wq) y = SimplifiedLayerNormalization <axis = -1, epsilon = @> (h, g)",
        "1e-5",
        "1e-2",
    ),
    "fused_skip_rms_norm": one(
        ROWS,
        "h0 = MatMul(x, wq) h = Add(h0, x)" + root_mean_square("h"),
        f"h = MatMul(x, wq) y = {MS}SkipSimplifiedLayerNormalization <epsilon = @> (h, x, g)",
        "1e-5",
        "1e-2",
    ),
    "fused_bias_gelu": one(ROWS, GELU % "", BIAS_GELU, "BiasGelu", "FastGelu"),
    "fused_fast_gelu": one(
        ROWS, GELU % ' <approximate = "tanh">', BIAS_GELU, "FastGelu", "BiasGelu"
    ),
    "fused_quick_gelu": one(
        ROWS,
        "h = MatMul(x, wq) z = Mul(h, quick) s = Sigmoid(z) u = Mul(h, s) y = MatMul(u, wo)",
        f"h = MatMul(x, wq) u = {MS}QuickGelu <alpha = @> (h) y = MatMul(u, wo)",
        "1.702",
        "1.6",
    ),
    "fused_matmul": one(
        "(float[batch,seq,32] x) => (float[batch,seq,seq] y)",
        "q = MatMul(x, wq) k0 = MatMul(x, wk) k = Transpose <perm = [0, 2, 1]> (k0)"
        "s = MatMul(q, k) y = Mul(s, scale)",
        f"q = MatMul(x, wq) k = MatMul(x, wk) y = {MS}FusedMatMul <transB = 1, alpha = @> (q, k)",
        "0.35355339",
        "0.34",
    ),
    "fused_conv": one(
        IMAGE,
        "h0 = Conv <pads = [1, 1, 1, 1]> (x, kernel, kb) h = LeakyRelu <alpha = 0.2> (h0)"
        "z = Conv <pads = [1, 1, 1, 1]> (h, kernel2, kb) y = Relu(z)",
        f'h = {MS}FusedConv <pads = [1, 1, 1, 1], activation = "LeakyRelu",'
        "activation_params = [@]> (x, kernel, kb)"
        f'y = {MS}FusedConv <pads = [1, 1, 1, 1], activation = "Relu"> (h, kernel2, kb)',
        "0.2",
        "0.1",
    ),
}


def written(fusion, nodes, target):
    """Write the file of one of a fusion's graphs, and give its path."""
    domains = 'opset_import: ["" : 20, "com.microsoft" : 1]'
    text = f"<ir_version: 9, {domains}> g {fusion.ends} {{ {nodes} }}"
    model = parser.parse_model(text)
    read = {name for node in model.graph.node for name in node.input}
    for name, array in {**W, **fusion.weights}.items():
        array = np.asarray(array)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        if name in read:
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target)
    return target


def export(name, target):
    """Write the fused file of a model."""
    fusion = FUSIONS[name.removesuffix("_wrong")]
    written(fusion, fusion.wrong if name.endswith("_wrong") else fusion.right, target)


def plain_file(name):
    """A builder of the plain file of a fusion."""
    return lambda: written(FUSIONS[name], FUSIONS[name].plain, FOLDER / f"{name}.plain.onnx")


for _name in FUSIONS:
    register_model(_name)(plain_file(_name))
    register_model(f"{_name}_wrong")(plain_file(_name))
