"""Files of arrays are read, also where Python's own parser fails once."""

import numpy as np
import pytest

from onnx_conformance.core.arrays import read_arrays


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.arange(3), b=np.float32([[1, 2]]))
    return tmp_path / "two.npz"


def failing(monkeypatch, times):
    """NumPy's reader, which fails as CPython 3.11's parser does while another thread parses."""
    load, left = np.load, [SystemError("recursion depth mismatch")] * times

    def loaded(*arguments, **options):
        if left:
            raise left.pop()
        return load(*arguments, **options)

    monkeypatch.setattr(np, "load", loaded)


@pytest.mark.parametrize("failures", [0, 1])
def test_arrays_are_read_by_name(path, monkeypatch, failures):
    failing(monkeypatch, failures)
    found = read_arrays(path)
    assert list(found) == ["a", "b"]
    assert (found["b"] == [[1, 2]]).all()


def test_what_fails_again_is_told(path, monkeypatch):
    failing(monkeypatch, 2)
    with pytest.raises(SystemError, match="mismatch"):
        read_arrays(path)
