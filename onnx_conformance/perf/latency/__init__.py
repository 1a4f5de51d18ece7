"""Native against ONNX Runtime, interleaved, in processes of their own."""
