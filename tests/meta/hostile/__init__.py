"""Files that are broken, or that mean harm: each function writes one, and says what is told of it.

``@hostile("words")`` on a function of the right file and a path; the words must stand in the one
sentence that a run says of what it wrote there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import onnx

Writer = Callable[[onnx.ModelProto, Path], None]
MODULES = ("bytes", "graphs", "data", "bombs", "places")


@dataclass(frozen=True)
class Hostile:
    """One entry of the corpus.

    Args:
        message: what the sentence about it must say, beside a remedy.
        file: the name that the file gets.
    """

    name: str
    write: Writer
    message: str
    file: str

    @property
    def label(self) -> str:
        """What its case is called: what cannot be shown is written as escapes."""
        shown = self.file.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
        shown = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown
        )
        return f"{self.name}/{shown.removesuffix('.onnx')}"


CORPUS: dict[str, Hostile] = {}


def hostile(message: str, file: str = "model.onnx") -> Callable[[Writer], Writer]:
    """Register an entry under the function's name."""

    def register(write: Writer) -> Writer:
        name = write.__name__
        assert name not in CORPUS, name
        CORPUS[name] = Hostile(name, write, message, file)
        return write

    return register


def write_corpus(right: onnx.ModelProto, folder: Path) -> None:
    """Write every entry into a folder of its own."""
    for entry in CORPUS.values():
        home = folder / entry.name
        home.mkdir()
        model = onnx.ModelProto()
        model.CopyFrom(right)
        entry.write(model, home / entry.file)


for _module in MODULES:
    import_module(f"{__name__}.{_module}")
