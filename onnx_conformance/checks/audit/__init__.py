"""Is every native weight in the artifact, unharmed? Explains each initializer by native tensors.

A few inputs cannot see one flipped sign among two million weights; this reads the weights. Whether
they are *used* rightly is for the error budget to say.
"""
