"""What one pass with an empty cache finds of a corpus of wrong decoders, beside calls in a row.

    python -m studies.detection --families "cache and positions" --models llama_like qwen_like \\
        gpt2_like t5_decoder_like whisper_decoder_like --no-rules --places 2 \\
        --routes torch_dynamo torch_torchscript --keep DIR --json DIR/detection-1.json
    python -m studies.detection --families "slots and state" --models vad_like …
    python -m studies.prefill DIR --write

Others compare a decoder's first call alone, its past empty and its masks full, with ``allclose``.
Each file is compared so with the clean export that it was made from. ``--write`` keeps the figures
in ``docs/figures/memory.json``, from which ``docs/detection.md`` has them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from studies.detection.bases import CLEAN
from studies.detection.markdown import MEMORY, with_memory

TOKENS, SAMPLES, FIRST = 4, 2, 3  # of the one call
STATES = ("past", "state", "context")  # in names of what is empty or zero at a first call
OPEN = {"batch": SAMPLES, "past": 0}  # sizes of open axes; of others TOKENS
RTOL, ATOL = 1e-3, 1e-4  # as they are usual for decoders


def first_call(session: ort.InferenceSession) -> dict[str, np.ndarray]:
    """Tokens, full masks and an empty past, by the file's own inputs."""
    rng, call = np.random.default_rng(0), {}
    for tensor in session.get_inputs():
        sizes = [dim if isinstance(dim, int) else OPEN.get(dim, TOKENS) for dim in tensor.shape]
        if "float" in tensor.type:
            first = any(w in tensor.name for w in STATES) and "encoder" not in tensor.name
            values = np.zeros(sizes) if first else rng.standard_normal(sizes)
            call[tensor.name] = values.astype(np.float32)
        elif "mask" in tensor.name:
            call[tensor.name] = np.ones(sizes, np.int64)
        else:
            call[tensor.name] = rng.integers(FIRST, 20, sizes)
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


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Of each file that was judged: its model and fault, and who found it.

    Args:
        folder: what --keep of the detection study wrote, with its data as ``detection*.json``.
    """
    clean = {base.parent: answers(base) for base in folder.glob(f"*/*/{CLEAN}")}
    refused = [str(base) for base, found in clean.items() if not found]
    if refused:
        raise ValueError(f"the clean file in {refused[0]} refuses the call")
    found = []
    data = [json.loads(path.read_text()) for path in sorted(folder.glob("detection*.json"))]
    for row in (row for one in data for row in one["rows"]):
        if row["verdict"] == "wrong":
            path = folder / row["model"] / row["path"]
            found.append(
                {
                    "model": row["model"],
                    "fault": row["fault"],
                    "suite": row["outcome"] == "found",
                    "prefill": is_found(clean[path.parent], path),
                }
            )
    return found


def figures(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """How many files there were and how many each way found, by model or by fault."""
    made = Counter(row[key] for row in rows)
    by_suite, by_prefill = (
        Counter(row[key] for row in rows if row[who]) for who in ("suite", "prefill")
    )
    return [
        {key: name, "wrong": count, "suite": by_suite[name], "prefill": by_prefill[name]}
        for name, count in made.items()
    ]


def main() -> None:
    """Print found and all, by model and by fault."""
    parser = argparse.ArgumentParser(prog="python -m studies.prefill", description=__doc__)
    parser.add_argument("folder", type=Path, help="what --keep wrote, with detection*.json")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/")
    chosen = parser.parse_args()
    rows = rows_of(chosen.folder)
    found = {"models": figures(rows, "model"), "faults": figures(rows, "fault")}
    for one in (*found["models"], *found["faults"]):
        name = next(iter(one.values()))
        print(f"{one['suite']:3} and {one['prefill']:3} of {one['wrong']:3}  {name}")
    if chosen.write:
        MEMORY.write_text(json.dumps(found, indent=1) + "\n")
        with_memory()


if __name__ == "__main__":
    main()
