"""Models from a user's file: what is found out about them, and what is told when they are wrong."""

import shlex
import shutil
import subprocess
import sys
import textwrap

import pytest

from onnx_conformance.catalog.models import MODELS, REGISTERED, Pointer, read_pointer
from onnx_conformance.core.domains import Choice, Integers, Real
from onnx_conformance.core.errors import StageFailure, UsageError, WorkerError
from onnx_conformance.run import user_models
from onnx_conformance.run.selection import Selection, external_cases
from onnx_conformance.run.user_models import BACKEND, adopt, refuse_edited
from onnx_conformance.run.worker_client import ProcessWorkerClient
from onnx_conformance.workers.server import load_object
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow

LIMIT = 60.0
HEAD = """
import numpy as np
import torch
from torch import nn
from onnx_conformance import AtMost, Integers, Lengths, Mask, TensorSpec, register_model
X = TensorSpec("x", ("batch", 4))
class Net(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.body, self.run = nn.Linear(4, 2), forward
    def forward(self, x):
        return self.run(self, x)
"""

# What is found out without a framework: each test that adopts a file starts a process for it.
PLAIN_HEAD = """
from onnx_conformance import TensorSpec, register_model
X = TensorSpec("x", ("batch", 4))
"""
PLAIN = """
@register_model("net", inputs=[X])
def net():
    return lambda x: x * 2
"""


@pytest.fixture(scope="module")
def worker():
    worker = ProcessWorkerClient(BACKEND)
    yield worker
    worker.close()


@pytest.fixture
def describe(worker, tmp_path):
    """The specs of the models of a file, of which the body is given."""

    def described(body, name="models.py", seed=0):
        path = tmp_path / name
        path.write_text(HEAD + textwrap.dedent(body))
        arguments = {"pointers": [], "wanted": [], "weights": "calibrated", "seed": seed}
        found = worker.call("describe", LIMIT, files=[str(path)], **arguments)
        return list(found["specs"])

    return described


def test_a_model_may_be_judged_on_data_of_the_suite(describe):
    body = '@register_model("net", inputs=[X], task="{}")\ndef net():\n    return nn.Linear(4, 2)\n'
    assert describe(body.format("digits"))[0].task == "digits"
    with pytest.raises(WorkerError, match="unknown task 'nope'; known: digits, photographs"):
        describe(body.format("nope"), name="other.py")


RIGHT = """
@register_model("net", inputs=[X])
def net():
    return nn.Linear(4, 2)
"""


def test_outputs_and_framework_are_found_by_running_it(describe):
    (spec,) = describe(RIGHT)
    assert (spec.framework, spec.name, spec.trained) == ("torch", "net", True)
    assert [(o.name, o.shape, o.dtype) for o in spec.outputs] == [
        ("output", ("batch", 2), "float32")
    ]


def test_an_output_may_be_declared_by_its_name_alone(describe):
    (spec,) = describe(RIGHT.replace("inputs=[X]", 'inputs=X, outputs="logits"'))
    (output,) = spec.outputs
    assert (output.name, output.shape, spec.unnamed) == ("logits", ("batch", 2), ())


def test_nested_outputs_whole_numbers_and_probabilities(describe):
    (spec,) = describe("""
        def forward(net, x):
            y = net.body(x)
            return {"p": y.softmax(-1), "more": (y.argmax(-1), y > 0)}
        @register_model("net", inputs=[X])
        def net():
            return Net(forward)
    """)
    assert [o.dtype for o in spec.outputs] == ["float32", "int64", "bool"]
    assert [o.scale for o in spec.outputs] == ["probabilities", "linear", "linear"]


def test_axes_are_followed_through_the_model(describe):
    (spec,) = describe("""
        @register_model("net", inputs=[TensorSpec("x", ("batch", "sequence", 4))],
                        axes={"sequence": (2, 10)})
        def net():
            return Net(lambda net, x: (net.body(x), x[:, ::2]))
    """)
    assert spec.outputs[0].shape == ("batch", "sequence", 2)
    assert spec.outputs[1].shape == ("batch", "output_1_dim_1", 4)


def test_inputs_are_inferred_from_examples(describe):
    (spec,) = describe("""
        @register_model("net", examples={"x": np.ones((1, 4), np.float32),
            "ids": np.array([[3, 7]]), "flag": np.array([[True]])})
        def net():
            class Three(nn.Module):
                def forward(self, x, ids, flag):
                    return x.sum(1) + ids.sum(1) + flag[:, 0]
            return Three()
    """)
    assert [i.shape for i in spec.inputs] == [
        ("batch_size", 4),
        ("batch_size", 2),
        ("batch_size", 1),
    ]
    assert [i.domain for i in spec.inputs] == [Real(), Integers(3, 8), Choice((0, 1))]


def test_a_plain_callable_has_no_oracle(describe):
    (spec,) = describe("""
        @register_model("net", inputs=[X])
        def net():
            return lambda x: (x * 2, x.argmax(1))
    """)
    assert (spec.framework, spec.oracle) == ("python", False)
    assert spec.outputs[1].dtype == "int64"


def test_the_fingerprint_is_of_weights_and_code(describe):
    (one,), (again,) = describe(RIGHT), describe(RIGHT, "again.py")
    (seeded,), (changed,) = describe(RIGHT, "seeded.py", seed=1), describe(RIGHT + "\n#", "c.py")
    assert len({spec.fingerprint for spec in (one, again, seeded, changed)}) == 4


WRONG = {
    "no range": (
        '@register_model("net", inputs=[TensorSpec("x", ("batch", 4), "int64")])\n'
        "def net(): return nn.Embedding(3, 2)",
        "without a known range; add domain=Integers",
    ),
    "wrong size": (
        '@register_model("net", inputs=[TensorSpec("x", ("batch", 5))])\n'
        "def net(): return nn.Linear(4, 2)",
        r"refuses what its spec describes \(x \[2, 5\] float32\)",
    ),
    "wrong dtype": (
        '@register_model("net", inputs=[TensorSpec("x", ("batch", 4), "float64")])\n'
        "def net(): return nn.Linear(4, 2)",
        "refuses what its spec describes",
    ),
    "missing output": (
        '@register_model("net", inputs=[X], outputs=[TensorSpec("a", ("batch", 2)),'
        ' TensorSpec("b", ("batch", 2))])\ndef net(): return nn.Linear(4, 2)',
        "returns 1 outputs, but its spec has 2: a, b",
    ),
    "output that is no spec": (
        '@register_model("net", inputs=[X], outputs=[2])\ndef net(): return nn.Linear(4, 2)',
        r"outputs= holds 2; write outputs=\[TensorSpec\(",
    ),
    "input that is no spec": (
        '@register_model("net", inputs="x")\ndef net(): return nn.Linear(4, 2)',
        r"inputs= holds 'x'; write inputs=\[TensorSpec\(",
    ),
    "two outputs of one name": (
        '@register_model("net", inputs=[X], outputs=["y", "y"])\n'
        "def net(): return Net(lambda n, x: (n.body(x), x))",
        "two outputs are called 'y'",
    ),
    "wrong output": (
        '@register_model("net", inputs=[X], outputs=[TensorSpec("a", ("batch", 3))])\n'
        "def net(): return nn.Linear(4, 2)",
        r"output 'a' is float32 \['batch', 2\], but its spec says float32 \['batch', 3\]",
    ),
    "trains in eval": (
        '@register_model("net", inputs=[X])\n'
        "def net(): return Net(lambda n, x: nn.functional.dropout(n.body(x), training=True))",
        "gives two answers to the same input",
    ),
    "changes itself": (
        '@register_model("net", inputs=[X])\n'
        "def net():\n"
        "    def forward(n, x):\n        n.body.bias.data += 1\n        return n.body(x)\n"
        "    return Net(forward)",
        "changes its own weights when it runs",
    ),
    "not float64": (
        "def forward(n, x):\n"
        "    if x.dtype != torch.float32:\n        raise RuntimeError('float32 is wanted')\n"
        "    return n.body(x)\n"
        '@register_model("net", inputs=[X])\ndef net(): return Net(forward)',
        r"cannot be computed in float64 \(float32 is wanted\).*oracle=False",
    ),
    "too many inputs": (
        '@register_model("net", inputs=[X, TensorSpec("y", ("batch", 4))])\n'
        "def net(): return nn.Linear(4, 2)",
        r"takes 1 inputs \(input\), but its spec has 2: x, y",
    ),
    "no inputs": (
        '@register_model("net")\ndef net(): return nn.Linear(4, 2)',
        "does not describe its inputs",
    ),
    "one sample a call": (
        '@register_model("net", inputs=[X])\ndef net(): return Net(lambda n, x: x.reshape(1, 4))',
        r"it takes TensorSpec\(\"x\", \(1, 4\)\)",
    ),
    "no batch where one is wanted": (
        '@register_model("net", inputs=[TensorSpec("x", (4, 3))])\n'
        "def net(): return nn.Conv1d(5, 2, 1)",
        r"it takes TensorSpec\(\"x\", \(5, 3\)\)",
    ),
    "nothing near is taken": (
        '@register_model("net", inputs=[X])\ndef net(): return Net(lambda n, x: x.missing)',
        "fix shape, dtype, domain or axes in the spec",
    ),
    "a batch that is left out": (
        '@register_model("net", inputs=[TensorSpec("x", (4, 6, 6))])\n'
        "def net(): return nn.BatchNorm2d(4)",
        r"it takes TensorSpec\(\"x\", \(\"batch\", 4, 6, 6\)\)",
    ),
    "two axes that are the batch": (
        '@register_model("net", inputs=[TensorSpec("x", ("batch", "batch"))])\n'
        "def net(): return nn.Linear(4, 2)",
        r"rename the others: TensorSpec\(\"x\", \(\"batch\", \"batch_1\"\)\)",
    ),
    "a size that cannot be": (
        '@register_model("net", inputs=[TensorSpec("x", ("batch", "past+"))])\n'
        "def net(): return nn.Linear(4, 2)",
        "the size 'past\\+' is not a sum",
    ),
    "a size of the batch": (
        '@register_model("net", inputs=[TensorSpec("x", ("2*batch", 4))])\n'
        "def net(): return nn.Linear(4, 2)",
        r"samples need a batch axis of their own: TensorSpec\(\"x\", \(\"batch\", 4\)\)",
    ),
    "no size": (
        '@register_model("net", inputs=[TensorSpec("x", (-1, 4))])\n'
        "def net(): return nn.Linear(4, 2)",
        r"has a size of -1; .*: TensorSpec\(\"x\", \(\"batch\", 4\)\)",
    ),
    "no model": (
        '@register_model("net", inputs=[X])\ndef net(): return 3',
        "its function returns a int; return a torch.nn.Module",
    ),
    "no builder": (
        '@register_model("net", inputs=[X])\ndef net(): return nn.Linear("a")',
        r"cannot be built: TypeError: .*\(models.py, line \d+\)",
    ),
    "no such axis": (
        '@register_model("net", inputs=[X], axes={"seq": (1, 4)})\n'
        "def net(): return nn.Linear(4, 2)",
        "axes names 'seq', which is in no input's shape",
    ),
    "an axis of one size": (
        '@register_model("net", inputs=[TensorSpec("x", ("batch", "n", 4))], axes={"n": (3, 3)})\n'
        "def net(): return nn.Linear(4, 2)",
        "axis 'n' has one size, 3, .*; give it a range, or write 3 in the shape",
    ),
    "a lost checkpoint": (
        '@register_model("net", inputs=[X])\n'
        'def net(): return torch.load("lost.pt", weights_only=True)',
        r"looked for in /.*; Path\(__file__\).with_name\(\"lost.pt\"\) finds it beside",
    ),
    "no tensor": (
        '@register_model("net", inputs=[X])\ndef net(): return Net(lambda n, x: "text")',
        "returns a str, which has no tensor",
    ),
    "cannot be calibrated": (
        '@register_model("net", inputs=[TensorSpec("x", ("batch", "n", 4))], calibrate=True)\n'
        "def net(): return nn.Linear(4, 2)",
        "calibrate=True is for models of one floating input",
    ),
    "two of a name": (RIGHT + RIGHT, "'net' is registered twice"),
    "nothing registered": ("X", "registers no model; put @register_model"),
    "does not run": ("1 / 0", r"cannot be imported: ZeroDivisionError.*models.py, line \d+"),
    "a keyword that TensorSpec lacks": (
        '@register_model("net", inputs=[TensorSpec("x", (2,), low=0)])\ndef net(): return 1',
        r"'low' \(models.py, line \d+\); TensorSpec takes name, .* domain=Integers\(0, 10\)",
    ),
    "a size of None": (
        '@register_model("net", inputs=[TensorSpec("x", (None, 4))])\n'
        "def net(): return nn.Linear(4, 2)",
        r'a size of None; .* TensorSpec\("x", \("batch", 4\)\)',
    ),
    "mask before lengths": (
        '@register_model("net", inputs=[TensorSpec("m", ("batch", 4), "bool",'
        ' domain=Mask(lengths="n"))])\ndef net(): return nn.Linear(4, 2)',
        "no input of that name comes before it",
    ),
}


def test_models_that_a_loop_registers_are_each_its_own(tmp_path):
    path = tmp_path / "models.py"
    path.write_text(
        "from onnx_conformance import TensorSpec, register_model\n"
        "for width in (2, 3):\n"
        '    x = [TensorSpec("x", ("batch", 4))]\n'
        '    register_model(f"net_{width}", inputs=x)(lambda width=width: width)\n'
    )
    assert [load_object(f"{path}:{REGISTERED}net_{width}")() for width in (3, 2)] == [3, 2]


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_reported_in_one_sentence(describe, what):
    body, message = WRONG[what]
    with pytest.raises(WorkerError, match=message) as caught:
        describe(body)
    assert caught.value.kind == "UsageError"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("resnet18", None),
        ("torchvision:resnet34", None),
        ("torchvision:s3d", Pointer("torchvision:s3d", "torchvision", "s3d")),
        ("timm:resnet10t", Pointer("timm:resnet10t", "timm", "resnet10t")),
        ("package.zoo:make", Pointer("package.zoo:make", "package.zoo", "make")),
        ("/a/b.py:make", Pointer("b.py:make", "/a/b.py", "make")),
    ],
)
def test_pointers(text, pointer):
    assert read_pointer(text) == pointer


def test_a_detector_by_pointer_has_boxes_whose_number_the_values_decide(worker):
    name = "ssdlite320_mobilenet_v3_large"
    pointer = Pointer(f"torchvision:{name}", "torchvision", name)
    chosen = {"files": [], "wanted": [], "weights": "calibrated", "seed": 0}
    (spec,) = worker.call("describe", LIMIT, pointers=[pointer], **chosen)["specs"]
    assert [one.shape for one in spec.inputs] == [(3, 128, 128)]
    assert spec.by_values == ("boxes", "scores", "labels")
    assert spec.notes == ()


def test_adopted_models_are_registered_and_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(MODELS, "_records", dict(MODELS._records))
    path = tmp_path / "models.py"
    path.write_text(PLAIN_HEAD + PLAIN)
    assert adopt([str(path)], []) == ("net",)
    assert MODELS["net"].inputs[0].shape == ("batch", 4)
    assert adopt([], [f"{path}:net"]) == ("models.py:net",)


def test_a_name_that_the_file_does_not_register_is_reported_with_those_that_it_does(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(MODELS, "_records", dict(MODELS._records))
    path = tmp_path / "models.py"
    path.write_text(PLAIN_HEAD + PLAIN)
    with pytest.raises(
        UsageError, match=r"unknown model 'nett'; known in .*models\.py: net; of the"
    ):
        adopt([str(path)], ["nett"])


READS = """
class Scaled(nn.Linear):
    def forward(self, x):
        return super().forward(x) * self.scale
@register_model("net", inputs=[X])
def net():
    from pathlib import Path
    made = Scaled(4, 2)
    made.scale = float(Path(__file__).with_name("scale.txt").read_text())
    return made
"""


def test_what_a_builder_reads_is_in_the_fingerprint(describe, tmp_path):
    """A result that is kept must not outlive the file that shaped the model."""
    prints = []
    for scale in ("1", "3", "1"):
        (tmp_path / "scale.txt").write_text(scale)
        prints += [spec.fingerprint for spec in describe(READS)]
    assert prints[0] == prints[2] != prints[1]


def test_what_its_calls_read_is_in_the_fingerprint(describe, tmp_path):
    """Even where the answers that are looked at do not show it."""
    prints = []
    for limit in ("100", "200", "100"):
        (tmp_path / "limit.txt").write_text(limit)
        (spec,) = describe("""
            from pathlib import Path
            @register_model("net", inputs=[X])
            def net():
                def forward(net, x):
                    limit = float((Path(__file__).with_name("limit.txt")).read_text())
                    return net.body(x).clamp(max=limit)
                return Net(forward)
        """)
        prints.append(spec.fingerprint)
        assert [path for path, _ in spec.reads] == [str(tmp_path / "limit.txt")]
    assert prints[0] == prints[2] != prints[1]


def test_a_model_that_reads_the_judged_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(MODELS, "_records", dict(MODELS._records))
    judged, other = tmp_path / "judged.onnx", tmp_path / "other.onnx"
    judged.write_bytes(b"one")
    other.write_bytes(b"another")
    path = tmp_path / "models.py"
    path.write_text(
        PLAIN_HEAD
        + '@register_model("net", inputs=[X])\n'
        + f"def net():\n    open({str(judged)!r}, 'rb').read()\n    return lambda x: x * 2\n"
    )
    adopt([str(path)], [])
    external_cases(Selection(("net",), providers=("cpu",), artifacts=(str(other),)))
    with pytest.raises(UsageError, match="'net' itself reads this file"):
        external_cases(Selection(("net",), providers=("cpu",), artifacts=(str(judged),)))


TWO = PLAIN + '@register_model("wrong", inputs=[X])\ndef wrong():\n    return 3\n'


def test_a_model_that_is_not_chosen_refuses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(MODELS, "_records", dict(MODELS._records))
    path = tmp_path / "models.py"
    path.write_text(
        PLAIN_HEAD + TWO + "for _ in range(2):\n    register_model('twice')(lambda: 3)\n"
    )
    assert adopt([str(path)], ["net"]) == ("net",)


def test_inputs_are_found_by_name_and_need_no_order(describe):
    specs = describe("""
        Y = TensorSpec("y", ("batch", 4))
        class Two(nn.Module):
            def forward(self, a=None, *, x, y):
                return x[:, :2] - y[:, :1]
        class Any(nn.Module):
            def forward(self, *inputs):
                return inputs[0] - inputs[1]
        class Bundle(nn.Module):
            def forward(self, batch: dict):
                return batch["x"] - batch["y"]
        @register_model("two", inputs=[Y, X])
        def two():
            return Two()
        @register_model("any", inputs=[X, Y])
        def any_():
            return Any()
        @register_model("bundle", inputs=[X, Y])
        def bundle():
            return Bundle()
    """)
    assert [spec.outputs[0].shape for spec in specs] == [("batch", n) for n in (2, 4, 4)]


def test_casts_inside_do_not_take_the_oracle(describe):
    (spec,) = describe("""
        @register_model("net", inputs=[X])
        def net():
            return Net(lambda n, x: n.body(nn.functional.one_hot(x.argmax(1), 4).float()).float())
    """)
    assert spec.oracle


def test_an_edit_during_the_run_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(MODELS, "_records", dict(MODELS._records))
    path = tmp_path / "models.py"
    path.write_text(PLAIN_HEAD + PLAIN)
    adopt([str(path)], [])
    refuse_edited("net")
    path.write_text(PLAIN_HEAD + PLAIN + "# saved again")
    with pytest.raises(StageFailure, match=r"models.py was edited during the run"):
        refuse_edited("net")


def test_two_modules_of_one_name_are_refused(tmp_path, monkeypatch):
    """One worker would give both models the first."""
    monkeypatch.setattr(MODELS, "_records", dict(MODELS._records))
    files = [tmp_path / name / "models.py" for name in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.with_name("namesake.py").touch()
        file.write_text(
            "import namesake\n" + PLAIN_HEAD + PLAIN.replace("net", f"net_{file.parent.name}")
        )
    with pytest.raises(UsageError, match=r"called 'namesake', from .*/a/.* and .*/b/"):
        adopt([str(file) for file in files], [])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["nowhere.py"], "no such file in /.*; from elsewhere, give its whole path"),
        (["/nowhere.py"], r"/nowhere.py: no such file \('.*onnx[-_]conformance new-model"),
        (["docs/"], "a folder; name the Python file in it"),
        (["docs/onnx.md"], "must be a .py file"),
        (["no.such.module"], "cannot be imported: .*; correct the name, or install it into /"),
    ],
)
def test_a_file_that_is_not_there(files, message):
    with pytest.raises(UsageError, match=message):
        adopt(files, [])


def test_a_new_model_goes_into_a_python_file(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "onnx_conformance", "new-model", "net", str(tmp_path / "net")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "must end in .py" in ran.stderr


def test_what_a_new_model_prints_can_be_pasted(tmp_path):
    """It begins with a program that the shell finds, though no environment is active."""
    ran = subprocess.run(
        [sys.executable, "-m", "onnx_conformance", "new-model", "net", str(tmp_path / "net.py")],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    program, *words = shlex.split(ran.stdout.splitlines()[-1])
    assert shutil.which(str(ROOT / program)) == shutil.which(sys.executable)
    assert words == ["-m", "onnx_conformance", "run", str(tmp_path / "net.py")]


@pytest.mark.parametrize("target", ["conformance", "gate"])
def test_make_hands_on_a_path_with_spaces_and_several_paths(tmp_path, target):
    path = tmp_path / "with space.py"
    path.touch()
    for argument, message in (
        (path, f"'--models-from={path}'"),
        ("a b", "--models-from=a --models-from=b"),
    ):
        caught = ["make", "-n", target, "BASELINE=kept", f"MODELS_FROM={argument}"]
        ran = subprocess.run(
            caught, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert message in ran.stdout


SOME_REFUSED = """
@register_model("right", inputs=[X])
def right():
    return lambda x: x * 2


@register_model("wrong", inputs=[X])
def wrong():
    return lambda x: x @ x
"""


def test_one_refused_model_does_not_refuse_its_file(tmp_path, monkeypatch):
    path = tmp_path / "some_refused.py"
    path.write_text(PLAIN_HEAD + SOME_REFUSED)
    monkeypatch.setattr(user_models, "_registered", lambda spec: spec)
    refused = {}
    assert user_models.adopt([str(path)], [], refused=refused) == ("right",)
    assert list(refused) == ["wrong"]
    assert "refuses what its spec describes" in refused["wrong"]


def test_where_nothing_is_left_the_first_refusal_is_raised(tmp_path, monkeypatch):
    path = tmp_path / "all_refused.py"
    path.write_text(PLAIN_HEAD + SOME_REFUSED)
    monkeypatch.setattr(user_models, "_registered", lambda spec: spec)
    with pytest.raises(UsageError, match="model 'wrong'"):
        user_models.adopt([str(path)], ["wrong"], refused={})


SHAPES = """
from torch.nn.functional import normalize
class Any(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.body, self.run = nn.Linear(4, 2), forward
    def forward(self, *inputs):
        return self.run(self, *inputs)
"""
SHAPED = {
    "batch on axis 1": (
        '[TensorSpec("x", ("time", "batch", 4))]',
        "lambda n, x: (n.body(x), x[-1:])",
        [("time", "batch", 2), (1, "batch", 4)],
        0,
    ),
    "no batch": ('[TensorSpec("x", (3, 4))]', "lambda n, x: n.body(x).sum()", [()], 0),
    "a fixed batch of 1": (
        '[TensorSpec("x", (1, 4))]', "lambda n, x: n.body(x)", [("batch", 2)], 1,
    ),
    "a fixed batch of 2": (
        '[TensorSpec("x", (2, 4))]', "lambda n, x: n.body(x)", [("batch", 2)], 2,
    ),
    "two rows of one sample": (
        '[TensorSpec("x", (2, 4))]', "lambda n, x: n.body(x + x.mean(0))", [(2, 2)], 0,
    ),
    "a threshold": (
        '[X, TensorSpec("t", ())]', "lambda n, x, t: torch.relu(n.body(x) - t)", [("batch", 2)], 0,
    ),
    "two batches": (
        '[TensorSpec("a", ("images", 4)), TensorSpec("b", ("texts", 4))]',
        "lambda n, a, b: n.body(a) @ n.body(b).T",
        [("images", "texts")],
        0,
    ),
    "sizes from others": (
        '[TensorSpec("x", ("batch", "past", 4)), TensorSpec("m", ("batch", "past+1"))]',
        "lambda n, x, m: (n.body(x), m * 2)",
        [("batch", "past", 2), ("batch", "past+1")],
        0,
    ),
    "an output of all samples": ("[X]", "lambda n, x: n.body(x).sum()", [()], 0),
}  # fmt: skip


@pytest.mark.parametrize("what", SHAPED)
def test_the_spec_is_of_the_model_and_not_the_model_of_the_spec(describe, what):
    inputs, forward, outputs, group = SHAPED[what]
    body = f'@register_model("net", inputs={inputs})\ndef net(): return Any({forward})\n'
    (spec,) = describe(SHAPES + body)
    assert [one.shape for one in spec.outputs] == outputs
    assert spec.group == group


def test_an_output_whose_size_the_values_decide_is_known(describe):
    body = """
    @register_model("net", inputs=[TensorSpec("x", (4,))])
    def net(): return Any(lambda n, x: (x[x > 0], n.body(x)))
    """
    (spec,) = describe(SHAPES + textwrap.dedent(body))
    assert spec.by_values == ("output_0",)
    sizes = ["output_0 (size)", "output_1 (size)"]  # of a model called for each sample all
    assert [one.name for one in spec.judged] == ["output_0", "output_1", *sizes]


def test_a_size_that_float64_alone_makes_another_is_one_that_the_values_decide(describe):
    [spec] = describe("""
        class Kept(torch.nn.Module):
            def forward(self, x):
                exact = torch.full_like(x, 1e8) + 1.0 - 1e8  # 0 in float32
                return x[(exact > 0.5) | (torch.arange(6) < 2)]

        @register_model("kept", inputs=[TensorSpec("x", (6,))])
        def kept():
            return Kept()
    """)
    assert spec.by_values == ("output",)
    assert spec.outputs[0].shape == ("output_dim_0",)
