"""External data, read only from beside the file, and only as much as it declares."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from onnx_conformance.core.errors import Refused
from onnx_conformance.core.onnx_file import every_tensor
from onnx_conformance.core.settings import MB, Limits
from onnx_conformance.core.text import quoted
from onnx_conformance.workers.reader.declared_sizes import declared_bytes

EXPORT_WITH_DATA = "export it again with its data beside it"
COPY_DATA = "put a copy of the data beside the file"
OURS = "conformance-canary-*"  # folders in which the canary links files for as long as it looks


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
