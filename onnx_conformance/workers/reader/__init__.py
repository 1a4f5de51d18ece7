"""Looks into ONNX files that anybody may have made."""
