"""What is no model at all."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from pathlib import Path

import onnx

from tests.meta.hostile import hostile


@hostile("it is empty; export or copy it again")
def empty(right: onnx.ModelProto, path: Path) -> None:
    path.touch()


@hostile("it begins with zeros alone")
def zeros(right: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(bytes(5000))


@hostile("it is a ZIP archive")
def zip_of_zeros(right: onnx.ModelProto, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10**7))


@hostile("is not an ONNX model")
def random_bytes(right: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(4096))


@hostile("is not an ONNX model")
def cut_in_its_head(right: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(right.SerializeToString()[:20])


@hostile("is not an ONNX model: it has another format, is cut short or is damaged")
def cut_in_the_middle(right: onnx.ModelProto, path: Path) -> None:
    content = right.SerializeToString()
    path.write_bytes(content[: len(content) // 2])


@hostile("is cut short or is damaged")
def cut_by_one_byte(right: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(right.SerializeToString()[:-1])


@hostile("declares no opset")
def cut_behind_its_graph(right: onnx.ModelProto, path: Path) -> None:
    right.ClearField("opset_import")  # it stands last
    path.write_bytes(right.SerializeToString())


@hostile("it is a PNG image")
def picture(right: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200))


@hostile("it is a page of HTML or XML")
def page(right: onnx.ModelProto, path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><title>404 Not Found</title></html>")


@hostile("it is a Python pickle")
def pickled(right: onnx.ModelProto, path: Path) -> None:
    buffer = io.BytesIO()
    pickle.dump({"weights": [1.0] * 100}, buffer)
    path.write_bytes(buffer.getvalue())


@hostile("it is a Git LFS pointer")
def pointer(right: onnx.ModelProto, path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
