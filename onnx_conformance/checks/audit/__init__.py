"""The audit of weights: explains each initializer by native tensors, and finds what is missing.

A few inputs cannot reveal one flipped sign among two million weights, so the audit reads the
weights themselves. Whether the file *uses* them correctly is judged by the error budget.
"""
