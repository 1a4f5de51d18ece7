"""Files that belong together: which part of one model each is, by its name.

As exporters lay a folder out: ``encoder_model.onnx``, ``decoder_model.onnx`` for the first call,
``decoder_with_past_model.onnx`` for the later ones, or ``decoder_model_merged.onnx`` for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath

ENCODER, FIRST = "encoder", "decoder_model"
NEXT, MERGED = "decoder_with_past_model", "decoder_model_merged"
DECODERS = (FIRST, NEXT, MERGED)
TOGETHER = "files_together"  # what a chain of such files is called in ids and reports
CALLS_OF_MERGED = {"first_call": FIRST, "later_calls": NEXT}  # the files that one is judged as
BRANCH = "use_cache_branch"  # the input of a merged decoder that says whether a past is given
POSITIONS = "position_ids"  # an input that a decoder's file may take or not
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
    several = known.keys() & set(DECODERS) and len(known) > 1
    return known if several and len(known) == len(found) else {}


def chains(known: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The roles that are called in a row, by what that is called in ids and reports.

    A merged decoder takes the place of the two others, in a chain of its own beside them.
    """
    apart = tuple(role for role in (ENCODER, FIRST, NEXT) if role in known)
    merged = tuple(role for role in (ENCODER, MERGED) if role in known)
    found = {TOGETHER: apart} if {FIRST, NEXT} & set(apart) and len(apart) > 1 else {}
    if MERGED in known:
        found[f"{TOGETHER}_merged" if found else TOGETHER] = merged
    return found
