"""Is a candidate worse than a baseline, measured in one run?"""
