"""The fault corpus: wrong conversions that must be found, and equivalent rewrites that must not.

One decorated function adds a fault. It is given a :class:`Draft` of an artifact and yields the
:class:`Site` records at which it can strike; each makes one mutant::

    @fault("batch norm", story="the framework's own default epsilon was written, not the model's")
    def epsilon_of_another_framework(draft: Draft) -> Iterator[Site]:
        for node in draft.nodes("BatchNormalization"):
            yield Site(node.name, lambda mutant, name=node.name: set_attribute(
                mutant.node(name), "epsilon", 1e-3), root_cause=(node.name,))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from onnx_conformance.core.registry import Registry
from studies.corpus.drafts import Draft, Mutant

Verdict = Literal["wrong", "harmless"]


@dataclass(frozen=True)
class Site:
    """A place where a fault can strike.

    Args:
        place: the node, initialiser or output that is hit, in words that are unique to the fault.
        strike: edits a mutant, a copy of the draft that is the fault's alone.
        root_cause: nodes of the mutant that may be named as the ones that introduce the error;
            empty where the fault is of the file as a whole (a renamed output, a frozen axis).
    """

    place: str
    strike: Callable[[Mutant], None]
    root_cause: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """One way in which a conversion goes wrong, or an equivalent rewrite.

    Args:
        name: unique in the corpus.
        family: the heading that it stands under in the table.
        verdict: ``wrong`` must be found, ``harmless`` must not be.
        story: how it happens in real life, in one line.
        link: the upstream issue, where one is known.
        values: the fault shows on some values only (a clip, an overflow, one channel).
        sites: where it can strike; every site of a ``wrong`` fault changes the function.
    """

    name: str
    family: str
    verdict: Verdict
    story: str
    link: str
    values: bool
    sites: Callable[[Draft], Iterator[Site]]


FAULTS: Registry[Fault] = Registry("fault")
Sites = Callable[[Draft], Iterator[Site]]


def fault(
    family: str,
    *,
    story: str,
    link: str = "",
    verdict: Verdict = "wrong",
    values: bool = False,
) -> Callable[[Sites], Sites]:
    """Register a function that yields the sites of a fault named after it."""

    def decorate(sites: Sites) -> Sites:
        name = sites.__name__
        FAULTS.register(name, Fault(name, family, verdict, story, link, values, sites))
        return sites

    return decorate
