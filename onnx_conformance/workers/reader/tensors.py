"""Tensors of a file: as large as they say, and read only from beside the file."""

from __future__ import annotations

import math
import os
import stat
import tempfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import TensorProto, numpy_helper

from onnx_conformance.core.errors import Refused
from onnx_conformance.core.graph_weights import stored_values
from onnx_conformance.core.onnx_file import every_graph, every_tensor
from onnx_conformance.core.settings import MB, Limits
from onnx_conformance.core.text import quoted

EXPORT_AGAIN = "export it again"
# Bits of an element, where no NumPy dtype of ours tells; the format: onnx.proto, ``raw_data``.
PACKED_BITS = {
    getattr(TensorProto, name): bits
    for name, bits in (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2))
    if hasattr(TensorProto, name)
}
SHAPED_BY = {"ConstantOfShape": 0, "Expand": 1}  # operator -> the input that says its shape
MOST_AXES = 64
TYPED_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)
EXPORT_WITH_DATA = "export it again with its data beside it"
COPY_DATA = "put a copy of the data beside the file"
OURS = "conformance-canary-*"  # folders in which the canary links files for as long as it looks


def elements(tensor: onnx.TensorProto) -> int:
    """How many elements the tensor declares.

    Raises:
        Refused: a negative size.
    """
    if any(dim < 0 for dim in tensor.dims):
        shape = list(tensor.dims)
        raise Refused(
            f"has initializer {quoted(tensor.name)}, which has a negative size: {shape}; "
            f"{EXPORT_AGAIN}"
        )
    return math.prod(tensor.dims)


def declared_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of the declared elements as raw data; 0 of strings.

    Raises:
        Refused: a negative size, or a type that does not exist.
    """
    count, kind = elements(tensor), tensor.data_type
    if kind == TensorProto.STRING:
        return 0
    if kind in PACKED_BITS:
        return -(-count * PACKED_BITS[kind] // 8)
    try:
        return count * int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    except (KeyError, TypeError) as error:
        raise Refused(
            f"has initializer {quoted(tensor.name)}, which is of type {kind}, and ONNX does not "
            f"have it; {EXPORT_AGAIN}"
        ) from error


def refuse_sizes(model: onnx.ModelProto, limits: Limits) -> None:
    """Refuse tensors that declare more than the file has, and nodes that make huge tensors.

    Raises:
        Refused: the first that does.
    """
    for tensor in every_tensor(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            continue
        wanted, held = declared_bytes(tensor), len(tensor.raw_data)
        count = sum(len(getattr(tensor, field)) for field in TYPED_FIELDS)
        packed = 8 // PACKED_BITS[tensor.data_type] if tensor.data_type in PACKED_BITS else 1
        if held < wanted and count * packed < elements(tensor):
            raise Refused(
                f"has initializer {quoted(tensor.name)}, which declares {elements(tensor):,} "
                f"elements and holds {held or count:,} {'bytes' if held else 'of them'}; "
                f"{EXPORT_AGAIN}"
            )
    _refuse_giants(model, limits)


def _refuse_giants(model: onnx.ModelProto, limits: Limits) -> None:
    known = _small_constants(model)
    for graph, _ in every_graph(model):
        for pair in getattr(graph, "sparse_initializer", ()):
            what = f"sparse initializer {quoted(pair.values.name)}"
            _refuse_giant(what, math.prod(map(abs, pair.dims)), limits)
        for node in graph.node:
            place = SHAPED_BY.get(node.op_type)
            if place is not None and len(node.input) > place and node.input[place] in known:
                what = f"node {quoted(node.name or node.op_type)} ({node.op_type})"
                _refuse_giant(what, math.prod(known[node.input[place]]), limits)


def _refuse_giant(what: str, count: int, limits: Limits) -> None:
    if count > limits.elements:
        raise Refused(
            f"has {what}, which makes a tensor of {count:,} elements, and {limits.elements:,.0f} "
            "are allowed; do not use it, or raise --artifact-limit elements=N"
        )


def _small_constants(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Constants of whole numbers in one axis, which may be shapes, by name."""
    found = {}
    for name, stored in stored_values(model):
        if isinstance(stored, onnx.AttributeProto) and stored.name == "value_ints":
            found[name] = list(stored.ints)
        elif isinstance(stored, TensorProto) and stored.data_location != TensorProto.EXTERNAL:
            whole = stored.data_type == TensorProto.INT64 and len(stored.dims) == 1
            if whole and stored.dims[0] <= MOST_AXES:
                found[name] = [abs(int(n)) for n in numpy_helper.to_array(stored)]
    return found


# -- external data


def refuse_data(path: Path, model: onnx.ModelProto, limits: Limits) -> None:
    """Check the file's external data without opening them.

    Raises:
        Refused: data outside the file's folder, behind a link, too short or too large.
    """
    sizes: dict[str, int] = {}
    for tensor in every_tensor(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in sizes:
            sizes[location] = _size(path.parent, location)
        _refuse_span(tensor, entries, sizes[location])
    total = sum(sizes.values())
    if total > limits.data_mb * MB:
        raise Refused(
            f"keeps {total / MB:,.0f} MB in external data, but only {limits.data_mb:,g} are "
            "allowed; raise --artifact-limit data_mb=N"
        )


def _size(folder: Path, location: str) -> int:
    """The size of a data file that may be read."""
    named = f"keeps weights in {quoted(location)}"
    pure = PurePosixPath(location)
    if not location or "\0" in location:
        raise Refused(f"keeps weights in a file that it does not name; {EXPORT_WITH_DATA}")
    if pure.is_absolute() or PureWindowsPath(location).drive or "\\" in location:
        raise Refused(f"{named}, outside its own folder (not a relative path); {COPY_DATA}")
    if ".." in pure.parts:
        raise Refused(f"{named}, outside its own folder ('..'); {COPY_DATA}")
    place = folder
    for part in pure.parts:
        place = place / part
        if place.is_symlink():
            raise Refused(f"{named}, which is a symbolic link; {COPY_DATA}")
    try:
        status = place.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise Refused(f"{named}, which is not beside it; {EXPORT_WITH_DATA}") from error
        raise Refused(
            f"{named}, which cannot be read ({error.strerror}); {EXPORT_WITH_DATA}"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{named}, which is not a file; {EXPORT_WITH_DATA}")
    if status.st_nlink - _own_links(place, status) > 1:
        raise Refused(
            f"{named}, which is a hard link, so also a file of another place; {COPY_DATA}"
        )
    return status.st_size


def _own_links(place: Path, status: os.stat_result) -> int:
    """How many of the file's links are the suite's own, one of another process among them."""
    if status.st_nlink == 1:
        return 0
    found = Path(tempfile.gettempdir()).glob(f"{OURS}/{place.name}")
    return sum(link.samefile(place) for link in found if link.exists())


def _refuse_span(tensor: onnx.TensorProto, entries: dict[str, str], size: int) -> None:
    """The span of the data file that is said to hold the tensor."""
    who = f"has initializer {quoted(tensor.name)}, which"
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or max(size - offset, 0))
    except ValueError as error:
        raise Refused(
            f"{who} has an offset or length that is not a number; {EXPORT_WITH_DATA}"
        ) from error
    if offset < 0 or length < 0 or offset + length > size:
        raise Refused(
            f"{who} is said to be bytes {offset:,} to {offset + length:,} of a data file of "
            f"{size:,}; {EXPORT_WITH_DATA}"
        )
    wanted = declared_bytes(tensor)
    if length < wanted:
        raise Refused(
            f"{who} needs {wanted:,} bytes and has {length:,} in its data file; {EXPORT_WITH_DATA}"
        )
