"""One table of verdicts and speeds for several versions of ONNX Runtime."""
