"""The command line's tools: ``main`` names the module of each command.

``run`` starts pytest on the conformance tests. ``convert`` (``conversion``, ``staged_file``),
``compare`` (``predictions``, ``image_latency``), ``inspect`` (``file_contents``) and ``doctor``
(``clashes``) start workers of their own (``context``). ``variants`` and ``versions``
(``environments``) run the suite twice (``suite_runs``). ``console`` is the terminal of all.
"""
