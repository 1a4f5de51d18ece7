"""Backends that stand in for a process with a provider."""

import os


class EnvironmentBackend:
    """Says what its process' environment holds."""

    def __init__(self, threads):
        self.threads = threads

    def variable(self, name):
        return os.environ.get(name)


class NoDeviceBackend:
    """A machine without any device."""

    def __init__(self, threads):
        self.threads = threads

    def device(self, device):
        return f"there is no {device['name']} here"
