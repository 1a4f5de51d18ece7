"""Signals another host's processes in the middle of a run, when a case on it is to be judged.

``LOST_SERVER`` is the number of its server's process, ``LOST_BY`` the signal's name, and
``LOST_PART`` says who gets it: ``all``, or the ``workers`` alone, which the server started.
"""

import os
import signal

import psutil
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if "-far" not in item.nodeid:
        return
    server = os.environ.pop("LOST_SERVER", "")
    if server:
        process = psutil.Process(int(server))
        below = process.children(recursive=True)
        workers = [each for each in below if not each.children()]
        whom = workers if os.environ["LOST_PART"] == "workers" else [*below, process]
        for each in whom:
            os.kill(each.pid, signal.Signals[os.environ["LOST_BY"]])
