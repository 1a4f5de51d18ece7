"""One results document, as a terminal's matrix, Markdown and an HTML page.

``document`` makes it from rows and facts, ``merged_document`` from the documents of shards.
``columns`` words a case as every matrix shows it. ``terminal``, ``markdown`` and ``html`` show the
document (the latter two by ``view``), ``code_hosts`` its failures. ``run_plots`` draws the plots of
a run's page; ``plots`` and ``pages`` are what all pages share. ``history`` keeps runs and draws
them (``history_plot``); ``saved_artifacts`` keeps files, and reads them as a gate's baseline.
``next_step`` and ``critical_path`` are lines at a run's end.
"""
