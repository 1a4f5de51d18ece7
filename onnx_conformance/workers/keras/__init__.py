"""Keras: build, run in float64 and float32, export."""
