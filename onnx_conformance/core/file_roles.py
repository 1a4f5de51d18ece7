"""Files that belong together: which part of one model each is, by its name.

As exporters lay a folder out: ``encoder_model.onnx``, ``decoder_model.onnx`` for the first call,
``decoder_with_past_model.onnx`` for the later ones, or ``decoder_model_merged.onnx`` for both.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

ENCODER, FIRST = "encoder", "decoder_model"
NEXT, MERGED = "decoder_with_past_model", "decoder_model_merged"
DECODERS = (FIRST, NEXT, MERGED)
TOGETHER = "files_together"  # what a chain of such files is called in ids and reports
STEPS = 3  # calls of the decoder with its past in a chain


def role_of(label: str) -> str:
    """The role of a file by its name; empty for none."""
    name = PurePath(label).name.lower()
    if "decoder" not in name:
        return ENCODER if "encoder" in name else ""
    if "with_past" in name:
        return NEXT
    return MERGED if "merged" in name else FIRST


def roles(labels: Iterable[str]) -> dict[str, str]:
    """The label of each role; none where two files claim one, or where fewer than two have any."""
    found = [(role, label) for label in labels if (role := role_of(label))]
    known = dict(found)
    chain = known.keys() & set(DECODERS) and len(known) > 1
    return known if chain and len(known) == len(found) else {}
