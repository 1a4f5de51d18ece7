"""What a run makes, each once: artifacts, ONNX Runtime sessions, references, answers."""
