"""What runs in worker processes: the only code that imports torch, TensorFlow or ONNX Runtime.

One folder a framework, with the same file names in each.
"""
