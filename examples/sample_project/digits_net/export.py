"""``python -m digits_net.export digits.onnx``: the file that is served."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from digits_net.model import load_model


def export(path: Path) -> None:
    """Write the model to ``path``, with a batch axis of any size."""
    torch.onnx.export(
        load_model(),
        (torch.zeros(2, 64),),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["pixels"],
        output_names=["output"],
        dynamic_axes={"pixels": {0: "batch"}, "output": {0: "batch"}},
    )


if __name__ == "__main__":
    export(Path(sys.argv[1]))
