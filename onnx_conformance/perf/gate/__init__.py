"""Is a candidate worse than a baseline, measured in one run?

``gate`` is asked by the tests. It opens both sides of a case (``gate_run``), draws pairs of
timings until ``sequential_test`` decides, and judges every other figure by its rule (``rules``).
``gate_report`` is the pytest plugin that ends the run, ``gate_document`` what it writes.
"""
