"""What stands where a file should be."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from tests.meta.hostile import hostile
from tests.meta.hostile.graphs import save

CANNOT_BE_SHOWN = "has a name with characters that cannot be shown; rename it"


@hostile("is not a file but a folder")
def folder(right: onnx.ModelProto, path: Path) -> None:
    path.mkdir()


@hostile("is not a file but a pipe")
def pipe(right: onnx.ModelProto, path: Path) -> None:
    os.mkfifo(path)


@hostile("cannot be read (No such file or directory)")
def link_to_nothing(right: onnx.ModelProto, path: Path) -> None:
    path.symlink_to("nowhere")


@hostile("takes 3,072 MB, but only 2,048 are allowed")
def three_gigabytes_of_nothing(right: onnx.ModelProto, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 * 2**30)


@hostile(CANNOT_BE_SHOWN, file="a\x1b[31mred\nmodel.onnx")
def terminal_escapes_for_a_file_name(right: onnx.ModelProto, path: Path) -> None:
    save(right, path)


@hostile(CANNOT_BE_SHOWN, file=os.fsdecode(b"latin-\xe9.onnx"))
def file_name_that_is_no_utf8(right: onnx.ModelProto, path: Path) -> None:
    save(right, path)
