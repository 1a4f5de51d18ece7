"""A framework's version that breaks what the suite takes beyond its public interface is named."""

import subprocess
import sys

import pytest

from onnx_conformance.core.errors import ConformanceError
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow


def test_a_torch_that_changed_its_schemas_is_named(monkeypatch):
    import torch

    from onnx_conformance.workers.torch import private

    private.self_test()
    monkeypatch.setattr(private, "writes", lambda func: False)
    with pytest.raises(ConformanceError, match=f"PyTorch {torch.__version__}".replace("+", r"\+")):
        private.self_test()


def test_a_keras_that_changed_its_graph_is_named(monkeypatch):
    import keras

    from onnx_conformance.workers.keras import private

    private.self_test()
    monkeypatch.setattr(private, "sources_of", lambda operation: [])
    with pytest.raises(ConformanceError, match=f"Keras {keras.__version__}"):
        private.self_test()


def test_torch_is_used_without_its_compiler_and_with_triton_before_tensorflow():
    """The compiler takes as long to import as torch; Triton after TensorFlow ends the process."""
    code = """if True:
        import importlib.util
        import sys
        from onnx_conformance.workers.torch.backend import TorchBackend
        TorchBackend(threads=1)
        assert "torch._dynamo" not in sys.modules
        assert "triton" in sys.modules or importlib.util.find_spec("triton") is None
    """
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_route_is_named_without_its_framework():
    """Plugins of tests, in pytest's process, wrap routes."""
    code = """if True:
        import sys
        import onnx_conformance.workers.keras.export
        import onnx_conformance.workers.torch.export
        assert not {"torch", "tensorflow", "keras"} & {*sys.modules}
    """
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
