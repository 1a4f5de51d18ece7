"""Ends another host's server, with all its workers, once a case on it has answered."""

import os
import signal

import psutil
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if "test_pinned_inputs" not in item.nodeid or "-far-" not in item.nodeid:
        return
    server = os.environ.pop("LOST_SERVER", "")
    if server:
        process = psutil.Process(int(server))
        for each in [*process.children(recursive=True), process]:
            os.kill(each.pid, signal.SIGKILL)
