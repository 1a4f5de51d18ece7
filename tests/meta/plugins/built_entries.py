"""Writes every entry of the cache that a run builds into the file that ``BUILT_ENTRIES`` names."""

import os

from onnx_conformance.core.store import Store

WRITE = Store._write


def write(self, place, build):
    with open(os.environ["BUILT_ENTRIES"], "a") as file:  # one write a line: runs share the file
        file.write(f"{os.getpid()} {place.parent.name}/{place.name}\n")
    return WRITE(self, place, build)


Store._write = write
