"""What is fed to the calls that are timed: samples whose right answers are known already."""

from __future__ import annotations

from collections.abc import Callable

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.budget import Reference, stack
from onnx_conformance.core.spec import Case, ModelSpec
from onnx_conformance.inputs.families import chosen, cut, stack_feeds
from onnx_conformance.inputs.recipes import Feed
from onnx_conformance.inputs.typical import typical_feeds
from onnx_conformance.session.noise_floor import PLAIN, Yardstick
from onnx_conformance.session.runtime import pair_names
from onnx_conformance.session.subject import Artifact

SAMPLES = ("image",)  # of the pinned feeds; its samples are taken in turn


def timed_feed(model: ModelSpec, seed: int, batch: int) -> Feed:
    """``batch`` samples of :func:`_known`, in turn."""
    feeds = _known(model, seed)
    return cut(stack_feeds(feeds * _turns(feeds[0], batch)), 0, batch)


def timed_reference(
    model: ModelSpec,
    seed: int,
    batch: int,
    reference: Callable[[ModelSpec, Feed, Yardstick], Reference],
    yardstick: Yardstick = PLAIN,
) -> Reference:
    """The reference of :func:`timed_feed`, put together from that of its samples."""
    feeds = _known(model, seed)
    known = [reference(model, feed, yardstick) for feed in feeds]
    return stack(known * _turns(feeds[0], batch)).rows(0, batch)


def _known(model: ModelSpec, seed: int) -> list[Feed]:
    """The pinned image feed; of a model with a task its own samples, which int8 is made for."""
    return typical_feeds(model, seed)[:1] if model.task else chosen(SAMPLES, model, seed)


def _turns(feed: Feed, batch: int) -> int:
    samples = len(next(iter(feed.values())))
    return -(-batch // samples)


def in_its_names(
    case: Case, artifact: Artifact
) -> tuple[Callable[[Feed], Feed], Callable[[str], str]]:
    """Our feed to the artifact's names, and the artifact's name of an output to ours."""
    model = resolve_model(case.model)
    theirs = [tensor["name"] for tensor in artifact.facts["inputs"]]
    inputs = pair_names([spec.name for spec in model.inputs], theirs)
    theirs = [tensor["name"] for tensor in artifact.facts["outputs"]]
    outputs = pair_names(theirs, [spec.name for spec in model.outputs])

    def renamed(feed: Feed) -> Feed:
        return Feed((inputs.get(name, name), array) for name, array in feed.items())

    return renamed, lambda name: outputs.get(name, name)
