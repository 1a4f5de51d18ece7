"""ONNX Runtime sessions on an execution provider."""
