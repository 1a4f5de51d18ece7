"""A small classifier and its export to ONNX."""
