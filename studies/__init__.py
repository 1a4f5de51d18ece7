"""Measurements of the judge itself: what it finds, what it alarms about, how long it takes.

They judge this suite's own models, which a run of pytest registers and a script does not. Each is
``python -m studies.NAME``; ``--help`` or its docstring says what it prints.

What it finds, and what it must not alarm about:

- ``detection``: wrong conversions and equivalent rewrites (``corpus``), under the suite and under
  the rules of other tools: docs/detection.md
- ``prefill``: wrong decoders (``corpus.memory``), by one pass and by calls in a row
- ``operators``: ONNX's own tests of its operators, rewritten rightly and wrongly
  (``operator_edits``)
- ``wild``: models and files of other people, each with the right verdict: docs/wild.md
- ``sabotage``: attempts to make a run pass without evidence: docs/sabotage.md
- ``false_alarms``: correct exports with fresh weights and inputs (``small_models``,
  ``sums_and_norms``)
- ``quantised_seeds``: verdicts on int8 with fresh samples: docs/quantisation.md
- ``kit``: a kit's verdicts beside those of a run in place

How well it explains and how figures are chosen:

- ``localisation``: how often the right node is named
- ``shrinking``: how simple failing inputs become
- ``calibrate_budget``: which factor a provider's class of precision needs: docs/providers.md

Time:

- ``gate_error_rates``: how often the gate errs: docs/gate.md
- ``timing_alone``: interleaved speed-ups beside those of workers alone: docs/latency.md
- ``overhead``: the suite beside a bare script (``bare_script``)
- ``processes``: one process and two; ``growth``: many small models
"""

from onnx_conformance.core.project import project

project().load()
