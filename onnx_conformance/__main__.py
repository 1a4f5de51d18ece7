"""``python -m onnx_conformance``: the console script, from a checkout too."""

from __future__ import annotations

import sys

from onnx_conformance.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
