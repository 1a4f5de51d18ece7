"""An ONNX file in the native model's place."""
