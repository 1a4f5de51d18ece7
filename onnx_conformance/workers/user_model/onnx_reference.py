"""An ONNX file as the model that others are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from onnx_conformance.core.domains import default_domain
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.core.spec import Shape, TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.onnx.backend import digest_of, open_at
from onnx_conformance.workers.user_model.build import Answer, Looked
from onnx_conformance.workers.user_model.infer_spec import BATCH


def file(path: str) -> Path:
    """The builder of ``--against FILE``."""
    return Path(path)


def look_at_file(path: Path, threads: int | None) -> Looked:
    """Look at an ONNX file.

    Raises:
        UsageError: it is none, or cannot be opened.
    """
    facts = inspect(path)
    inputs = tuple(_spec(tensor) for tensor in facts["inputs"])
    names = [tensor["name"] for tensor in facts["outputs"]]
    try:
        compute_mode = open_at(path, "float32", threads)
    except Exception as error:
        raise UsageError(f"{path} cannot be loaded: {' '.join(str(error).split())}") from error

    def run(input_set: Inputs) -> Answer:
        return dict(zip(names, compute_mode(input_set), strict=True))

    def float64_problem(input_set: Inputs) -> str | None:
        try:
            outputs = open_at(path, "float64", threads)(input_set)
        except Exception as error:  # noqa: BLE001 - an operator that the evaluator lacks
            return " ".join(str(error).split())[:200]
        kinds = [array.dtype for array in outputs if np.issubdtype(array.dtype, np.floating)]
        narrow = [str(kind) for kind in kinds if kind != np.float64]
        return f"an output is {narrow[0]}" if narrow else None

    count = len(inputs)
    return Looked(
        "onnx", tuple(spec.name for spec in inputs), (count, count), inputs, digest_of(path), run,
        lambda: False, float64_problem,
    )  # fmt: skip


def _spec(tensor: dict[str, Any]) -> TensorSpec:
    """An input as the file describes it. Its first axis is the batch, whatever it is called."""
    shape, name, dtype = tensor["shape"] or [], tensor["name"], tensor["dtype"]
    if not shape or not isinstance(shape[0], str):
        raise UsageError(
            f"input '{name}' has a batch of {shape[0] if shape else 'no axis'}; files are compared "
            "at several batch sizes: export it with a dynamic batch axis"
        )
    dims: Shape = (
        BATCH,
        *(f"{name}_dim_{a}" if dim == "?" else dim for a, dim in list(enumerate(shape))[1:]),
    )
    domain = default_domain(dtype)
    if domain is None:
        raise UsageError(
            f"input '{name}' is {dtype}, and a file does not say of which range: register it in a "
            f"file for --models-from, as a function that returns pathlib.Path(FILE), with inputs="
            f'[TensorSpec("{name}", {tuple(dims)}, "{dtype}", domain=Integers(0, N))]'
        )
    return TensorSpec(name, dims, dtype, domain=domain)
