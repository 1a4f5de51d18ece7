"""The devices that execution providers need, one record each: how to find out whether one is here.

Adding a device is one record here; a provider names it (``Provider.device``).
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx_conformance.core.registry import Registry

_ASKED = "onnx_conformance.workers.onnxruntime.probe"


@dataclass(frozen=True)
class Device:
    """Hardware, or arithmetic that a processor has. Every condition that is given must hold.

    Args:
        name: the name by which a provider's record refers to it.
        absence: the message where it is not found: ``no AMD GPU with ROCm's driver was found``.
        systems: operating systems that have it (``platform.system()``); one of them must be
            running.
        paths: files and folders of its driver, one of which must exist; ``*`` is a wildcard.
        processor_flags: flags of ``/proc/cpuinfo``, one of which the processor must have.
        asks: ``module:function`` that asks the driver, in the provider's process. It returns why
            the device is absent, or an empty text.
        native: the frameworks' name for it, where native is computed on it too; else empty.
        silent: without it a session still opens, and computes in another precision.
    """

    name: str
    absence: str = ""
    systems: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    processor_flags: tuple[str, ...] = ()
    asks: str = ""
    native: str = ""
    silent: bool = False


DEVICES: Registry[Device] = Registry("device")
for _device in (
    Device("nvidia", asks=f"{_ASKED}:nvidia", native="cuda"),
    Device("amd", "no AMD GPU with ROCm's driver was found", paths=("/dev/kfd",)),
    Device("apple", "this is not macOS", systems=("Darwin",)),
    Device("windows", "this is not Windows", systems=("Windows",)),
    Device("qualcomm", asks=f"{_ASKED}:qualcomm"),
    Device("openvino", asks=f"{_ASKED}:openvino"),
    Device("openvino_gpu", asks=f"{_ASKED}:openvino_gpu"),
    Device(
        "bfloat16",
        "this processor has no bfloat16 instructions",
        processor_flags=("avx512_bf16", "amx_bf16"),
        silent=True,
    ),
    Device(
        "float16",
        "this processor has no float16 instructions",
        processor_flags=("avx512_fp16", "amx_fp16"),
        silent=True,
    ),
):
    DEVICES.register(_device.name, _device)
