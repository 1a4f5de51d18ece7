"""Write the standalone subgraph of a divergence into a repro bundle."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnx_conformance.diagnose.divergence import Array, Divergence

SCRIPT = Path(__file__).with_name("run_subgraph.py")


def write_subgraph(divergence: Divergence, folder: Path, libraries: Sequence[str] = ()) -> bool:
    """Write ``subgraph.onnx``, its inputs, what is expected, and ``subgraph.py`` to repeat it.

    Args:
        libraries: custom-operator libraries that it needs, as a session names them.

    Returns:
        False, and nothing is written, where the divergence has none.
    """
    found = divergence.subgraph
    if found is None:
        return False
    (folder / "subgraph.onnx").write_bytes(found.model)
    _write_arrays(folder / "subgraph_inputs.npz", found.inputs)
    _write_arrays(folder / "subgraph_expected.npz", found.expected)
    record = {
        **divergence.as_dict(),
        "limits": found.limits,
        "custom_op_libraries": list(libraries),
    }
    text = json.dumps(record, indent=1) + "\n"
    (folder / "subgraph.json").write_text(text, encoding="utf-8")
    shutil.copyfile(SCRIPT, folder / "subgraph.py")
    return True


def _write_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """Tensors by number: their names may hold slashes. ``names`` tells them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        members = {"names": np.array(list(arrays))}
        members |= {f"array{place}": array for place, array in enumerate(arrays.values())}
        for name, array in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
