"""The audit of weights: explains each initializer by native tensors, and finds what is missing.

A few inputs cannot see one flipped sign among two million weights; this reads the weights. Whether
they are *used* rightly is for the error budget to say.
"""
