"""What one pass with an empty cache finds of a corpus of wrong decoders, beside calls in a row.

    python -m studies.detection --small --models decoder --families "cache and positions" --keep DIR
    python -m studies.prefill DIR/decoder

Others compare a decoder's first call alone, its past empty and its masks full, with ``allclose``.
Each file is compared so with the clean export that it was made from.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort

from studies.detection.bases import CLEAN

TOKENS, SAMPLES, FIRST = 4, 2, 3  # of the one call
RTOL, ATOL = 1e-3, 1e-4  # as they are usual for decoders


def first_call(session: ort.InferenceSession) -> dict[str, np.ndarray]:
    """Tokens, full masks and an empty past, by the file's own inputs."""
    rng, call = np.random.default_rng(0), {}
    for tensor in session.get_inputs():
        dims = [SAMPLES, *(tensor.shape[1:])]
        if "float" in tensor.type:  # a past: its open axis is empty
            sizes = [0 if isinstance(dim, str) else dim for dim in dims]
            call[tensor.name] = np.zeros(sizes, np.float32)
        elif "mask" in tensor.name:
            call[tensor.name] = np.ones((SAMPLES, TOKENS), np.int64)
        else:
            call[tensor.name] = rng.integers(FIRST, 20, (SAMPLES, TOKENS))
    return call


def answers(path: Path) -> list[np.ndarray]:
    """What a file answers to its first call; nothing where it refuses."""
    ort.set_default_logger_severity(4)
    try:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return list(session.run(None, first_call(session)))
    except Exception:  # noqa: BLE001 - onnxruntime raises many kinds
        return []


def is_found(clean: list[np.ndarray], path: Path) -> bool:
    """Whether the first call shows that the file is another function."""
    got = answers(path)
    shapes = [array.shape for array in got] == [array.shape for array in clean]
    return not shapes or not all(
        np.allclose(one, other, RTOL, ATOL) for one, other in zip(got, clean, strict=True)
    )


def main() -> None:
    """Print found and all, by fault."""
    parser = argparse.ArgumentParser(prog="python -m studies.prefill", description=__doc__)
    parser.add_argument("folder", type=Path, help="a model's folder that --keep wrote")
    found: Counter[str] = Counter()
    made: Counter[str] = Counter()
    for base in sorted(parser.parse_args().folder.glob(f"*/{CLEAN}")):
        clean = answers(base)
        for path in sorted(base.parent.glob("*.onnx")):
            if path.name != CLEAN:
                fault = path.stem.rpartition("-")[0]
                made[fault] += 1
                found[fault] += is_found(clean, path)
    for fault, count in made.items():
        print(f"{found[fault]:3} of {count:3}  {fault}")
    print(f"{found.total()} of {made.total()} found by one pass with an empty cache")


if __name__ == "__main__":
    main()
