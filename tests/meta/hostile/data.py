"""External data that lies elsewhere, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from tests.meta.hostile import hostile
from tests.meta.hostile.graphs import save


def keep(model: onnx.ModelProto, location: str, **span: int) -> bytes:
    """Let the first initialiser's data lie elsewhere: its bytes."""
    tensor = model.graph.initializer[0]
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **span}.items():
        tensor.external_data.add(key=key, value=str(value))
    return content


@hostile("outside its own folder ('..')")
def data_above(right: onnx.ModelProto, path: Path) -> None:
    (path.parent / "home").mkdir()
    (path.parent / "weights").write_bytes(keep(right, "home/../weights"))
    save(right, path)


@hostile("outside its own folder (not a relative path)")
def data_anywhere(right: onnx.ModelProto, path: Path) -> None:
    keep(right, "/etc/passwd")
    save(right, path)


@hostile("outside its own folder (not a relative path)")
def data_on_a_drive(right: onnx.ModelProto, path: Path) -> None:
    keep(right, "C:\\Windows\\win.ini")
    save(right, path)


@hostile("which is a symbolic link; put a copy")
def data_behind_a_link(right: onnx.ModelProto, path: Path) -> None:
    (path.parent / "real").write_bytes(keep(right, "weights"))
    (path.parent / "weights").symlink_to(path.parent / "real")
    save(right, path)


@hostile("which is a symbolic link; put a copy")
def data_in_a_linked_folder(right: onnx.ModelProto, path: Path) -> None:
    (path.parent / "real").mkdir()
    (path.parent / "real" / "weights").write_bytes(keep(right, "linked/weights"))
    (path.parent / "linked").symlink_to("real", target_is_directory=True)
    save(right, path)


@hostile("which is a hard link")
def data_that_is_a_hard_link(right: onnx.ModelProto, path: Path) -> None:
    (path.parent / "real").write_bytes(keep(right, "weights"))
    os.link(path.parent / "real", path.parent / "weights")
    save(right, path)


@hostile("which is not a file")
def data_in_a_pipe(right: onnx.ModelProto, path: Path) -> None:
    keep(right, "weights")
    os.mkfifo(path.parent / "weights")
    save(right, path)


@hostile("which is not beside it")
def data_that_is_absent(right: onnx.ModelProto, path: Path) -> None:
    keep(right, "weights")
    save(right, path)


@hostile("in a file that it does not name")
def data_without_a_place(right: onnx.ModelProto, path: Path) -> None:
    keep(right, "")
    save(right, path)


@hostile("of a data file of")
def data_beyond_the_end(right: onnx.ModelProto, path: Path) -> None:
    (path.parent / "weights").write_bytes(keep(right, "weights", offset=4096, length=400))
    save(right, path)


@hostile("of a data file of")
def data_before_the_start(right: onnx.ModelProto, path: Path) -> None:
    (path.parent / "weights").write_bytes(keep(right, "weights", offset=-64))
    save(right, path)


@hostile("of a data file of")
def data_whose_end_overflows(right: onnx.ModelProto, path: Path) -> None:
    span = {"offset": 2**63 - 1, "length": 2**63 - 1}
    (path.parent / "weights").write_bytes(keep(right, "weights", **span))
    save(right, path)


@hostile("bytes and has")
def data_that_is_too_short(right: onnx.ModelProto, path: Path) -> None:
    (path.parent / "weights").write_bytes(keep(right, "weights")[:-4])
    save(right, path)
