"""Why a case failed: the first node that diverges, the simplest inputs, a bundle to repeat it.

``localisation`` decides what is localised. It traces both sides (``traced_file``), finds for each
tensor of the file the native ones that it equals (``alignment``), and asks which node introduces
the error (``root_cause``, with ``peers``: what nodes of a kind stand for, whose weights they
read). A file that is right as written is traced as ONNX Runtime rewrites it.
The answer is a ``divergence``, with the few nodes that fail alone (``subgraph``).

``simplest_inputs`` looks for the simplest recipe that still fails; ``messages`` words failures and
the commands that repeat them; ``bundle`` writes the folder in which ``reproduce`` and
``run_subgraph`` run without this package.
"""
