"""The checks, their negative controls, and what a case needs to pass.

- ``registry``: the records of the checks, and which of them a case requires; every other module
  registers its own: of the file (``structure``, ``initializers`` with the package ``audit``,
  ``placement``, ``canary``, ``export_options``), of native (``liveness``), of answers
  (``function``, ``sweep``, ``closeness``, ``determinism``, ``unoptimised``, ``whole_numbers``,
  ``photographs``), of models with memory (``steps``, ``equivalent_calls``, ``generation``), of edge
  cases (``robustness``), of half precision and int8 (``precision``, ``task``)
- ``verdict``: the error budget on any inputs, as the result of a check; ``sweep_scores`` and
  ``turned_rows``: on the many inputs of a sweep
- ``controls`` and ``controls_of_…``: a wrong conversion for each check
- ``evidence``: what a test must hand in, and what excuses a failure; ``upstream_faults`` explains
  one
- ``certificate``: the record that a case passed, for timing; ``reproduction``: what a failure
  leaves for its bundle
"""
