"""Measurements of the judge itself: what it finds, what it alarms about, how long it takes.

They judge this suite's own models, which a run of pytest registers and a script does not.
"""

from onnx_conformance.core.project import project

project().load()
