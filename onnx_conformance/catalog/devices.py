"""The devices that execution providers need, one record each: how to find out whether one is here.

Adding a device is one record here; a provider names it (``Provider.device``).
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from glob import glob
from pathlib import Path

from onnx_conformance.core.registry import Registry

_NVIDIA, _XDNA = "/proc/driver/nvidia", "/sys/bus/pci/drivers/amdxdna"
_ASKED = "onnx_conformance.workers.onnxruntime.probe_backend"


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
        versions: of its model, driver and firmware: a word, the files that tell it (``*`` is a
            wildcard), and a pattern whose group is it.
    """

    name: str
    absence: str = ""
    systems: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    processor_flags: tuple[str, ...] = ()
    asks: str = ""
    native: str = ""
    silent: bool = False
    versions: tuple[tuple[str, str, str], ...] = ()


DEVICES: Registry[Device] = Registry("device")
for _device in (
    Device(
        "nvidia",
        asks=f"{_ASKED}:nvidia",
        native="cuda",
        versions=(
            ("", f"{_NVIDIA}/gpus/*/information", r"Model:\s+(.+)"),
            ("driver ", f"{_NVIDIA}/version", r"NVRM version:.*?\s(\d+\.\d[\d.]*)\s"),
            ("firmware ", f"{_NVIDIA}/gpus/*/information", r"Video BIOS:\s+(\S+)"),
        ),
    ),
    Device(
        "amd",
        "no AMD GPU with ROCm's driver was found",
        paths=("/dev/kfd",),
        versions=(("driver ", "/sys/module/amdgpu/version", r"(\S+)"),),
    ),
    Device(
        "amd_npu",
        asks=f"{_ASKED}:amd_npu",
        versions=(
            ("", f"{_XDNA}/*/vbnv", r"(.+)"),
            ("driver ", "/sys/module/amdxdna/version", r"(\S+)"),
            ("firmware ", f"{_XDNA}/*/fw_version", r"(\S+)"),
        ),
    ),
    Device("vulkan", asks=f"{_ASKED}:vulkan"),
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

_PROCESSOR = Device("processor", versions=(("", "/proc/cpuinfo", r"model name\s*:\s*(.+)"),))


@lru_cache
def drivers() -> dict[str, str]:
    """Device -> its model, driver and firmware, of those whose driver tells them on this machine.

    ``{"nvidia": "NVIDIA H200, driver 570.124.06, firmware 96.00.A5.00.01"}``.
    """
    found = {device.name: told_versions(device) for device in DEVICES.values()}
    return {name: versions for name, versions in found.items() if versions}


def told_versions(device: Device) -> str:
    """Its model, driver and firmware; empty where nothing tells them."""
    return ", ".join(dict.fromkeys(_versions_of(device)))


def _versions_of(device: Device) -> Iterator[str]:
    for word, files, pattern in device.versions:
        for path in sorted(glob(files)):
            try:
                found = re.search(pattern, Path(path).read_text(encoding="utf-8", errors="replace"))
            except OSError:
                continue
            if found:
                yield f"{word}{found.group(1).strip()}"


def machine() -> str:
    """This machine in a line: processor, devices with driver and firmware, and system."""
    parts = [told_versions(_PROCESSOR), *drivers().values(), platform.platform()]
    return ", ".join(part for part in parts if part)
