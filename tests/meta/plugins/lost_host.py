"""Loses another host in the middle of a run, when a case on it is to be judged.

``LOST_SERVER`` is the number of its server's process. ``LOST_BY`` is a signal's name, and
``LOST_PART`` who gets it: ``all`` of its processes, or the ``workers`` alone, which it started. Or
``LOST_BY`` is ``link``, and ``LOST_PART`` the network device that is switched off.
"""

import os
import signal
import subprocess

import psutil
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    server = os.environ.pop("LOST_SERVER", "") if "-far" in item.nodeid else ""
    if not server:
        return
    by, part = os.environ["LOST_BY"], os.environ["LOST_PART"]
    if by == "link":
        subprocess.run(["ip", "link", "set", part, "down"], check=True)
        return
    process = psutil.Process(int(server))
    below = process.children(recursive=True)
    workers = [each for each in below if not each.children()]
    for each in workers if part == "workers" else [*below, process]:
        os.kill(each.pid, signal.Signals[by])
