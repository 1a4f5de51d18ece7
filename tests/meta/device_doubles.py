"""The torch worker with the processor in the place of a CUDA device: its code runs anywhere."""

import time
from typing import Any

import torch

from onnx_conformance.workers.torch import precision, timing
from onnx_conformance.workers.torch.backend import TorchBackend


class Event:
    """An event of a device that has done all that it was asked for."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return (end.at - self.at) * 1000


class ProcessorBackend(TorchBackend):
    """``on cpu`` in the place of ``on cuda``; says how it multiplies while a model runs."""

    def __init__(self, threads):
        super().__init__(threads)
        precision.CUDA = timing.CUDA = "cpu"  # type: ignore[attr-defined]
        torch.cuda.is_available = lambda: True
        torch.cuda.synchronize = self._synchronize
        torch.cuda.Event = Event
        self._waited, self._seen = 0, []

    def _synchronize(self):
        self._waited += 1

    def watch(self, everywhere):
        """A model's file that chose TF32 for all backends, and what each run multiplies in."""
        torch.backends.fp32_precision = everywhere  # type: ignore[attr-defined]

        def see(module, inputs):
            backends = torch.backends
            cudnn: Any = backends.cudnn
            switches = (backends.cuda.matmul, cudnn.conv, cudnn.rnn)
            self._seen.append(tuple(switch.fp32_precision for switch in switches))

        torch.nn.modules.module.register_module_forward_pre_hook(see)

    def seen(self):
        found, self._seen = sorted(set(self._seen)), []
        return found

    def waited(self):
        return self._waited


class BrokenBackend(TorchBackend):
    """torch sees a device for which it was not built."""

    def __init__(self, threads):
        super().__init__(threads)
        torch.cuda.is_available = lambda: True

        def ones(*sizes, device):
            raise RuntimeError("CUDA error: no kernel image is available for execution")

        torch.ones = ones
