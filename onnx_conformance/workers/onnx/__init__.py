"""A reference artifact: an ONNX file in the native model's place."""
