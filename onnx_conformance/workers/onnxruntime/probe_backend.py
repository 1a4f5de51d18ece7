"""The probe of a provider inside a worker: device, libraries, plugins."""

from __future__ import annotations

import ctypes
import platform
from glob import glob
from pathlib import Path
from typing import Any

import onnxruntime as ort

from onnx_conformance.catalog.devices import Device
from onnx_conformance.core.worker_messages import PluginDevice
from onnx_conformance.workers.server import load_object

CPUINFO = Path("/proc/cpuinfo")


class ProbeBackend:
    """Finds out why a session did not open."""

    def __init__(self, threads: int) -> None:
        ort.set_default_logger_severity(3)

    def device(self, device: dict[str, Any]) -> str:
        """Why there is no such device, a :class:`Device` as plain data; empty if there is one."""
        return absence(Device(**device))

    def plugin(self, library: str) -> list[PluginDevice]:
        """The devices that a plugin's library offers: each one's provider and kind."""
        from onnx_conformance.workers.onnxruntime.open_session import register

        return [
            {
                "provider": device.ep_name,
                "device": str(device.device.type).rpartition(".")[2],
                "version": str(device.ep_metadata.get("version", "")),
            }
            for device in register(library)
        ]


def nvidia() -> str:
    """Why NVIDIA's driver finds no GPU; empty if it finds one."""
    driver = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return f"no NVIDIA driver was found ({driver})"
    count = ctypes.c_int(0)
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return f"NVIDIA's driver finds no GPU (CUDA error {status})"
    return "" if count.value else "NVIDIA's driver counts 0 GPUs"


def qualcomm() -> str:
    """Why there is no Qualcomm NPU (Windows on Arm, or Linux's DSP devices); empty if there is."""
    if glob("/dev/fastrpc-*") or (
        platform.system() == "Windows" and "ARM" in platform.machine().upper()
    ):
        return ""
    return f"no Qualcomm NPU was found ({platform.machine()} processor)"


def amd_npu() -> str:
    """A Ryzen AI: Windows, which tells no more without AMD's tools, or the driver on Linux."""
    if platform.system() == "Windows" or glob("/sys/bus/pci/drivers/amdxdna/0*"):
        return ""
    return "no AMD NPU was found: no device of the driver amdxdna"


def vulkan() -> str:
    """On Linux, the loader that Dawn finds GPUs by; Direct3D and Metal come with their systems."""
    if platform.system() != "Linux":
        return ""
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return "no Vulkan loader was found (libvulkan.so.1)"
    return ""


def openvino() -> str:
    """Why OpenVINO finds no device; empty if it finds one."""
    return "" if _openvino_devices() else "OpenVINO finds no device here"


def openvino_gpu() -> str:
    """Why OpenVINO finds no Intel GPU; empty if it finds one."""
    found = _openvino_devices()
    if any(name.startswith("GPU") for name in found):
        return ""
    return f"OpenVINO finds no Intel GPU, only {', '.join(found) or 'nothing'}"


def _openvino_devices() -> list[str]:
    from onnxruntime.capi import _pybind_state as state

    listed = getattr(state, "get_available_openvino_device_ids", None)
    return [str(name) for name in listed()] if listed else []


def absence(device: Device) -> str:
    """Why a device is absent; empty if it is present."""
    if device.systems and platform.system() not in device.systems:
        return f"{device.absence}, but {platform.system()}"
    if device.paths and not any(map(_exists, device.paths)):
        return f"{device.absence} ({', '.join(device.paths)})"
    if device.processor_flags:
        try:
            flags = CPUINFO.read_text(encoding="utf-8").split()
        except OSError:
            return f"nothing tells whether this processor has {device.name} ({CPUINFO})"
        if not set(flags) & set(device.processor_flags):
            return f"{device.absence} ({', '.join(device.processor_flags)})"
    return str(load_object(device.asks)()) if device.asks else ""


def _exists(path: str) -> bool:
    return bool(glob(path))
