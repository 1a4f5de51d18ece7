"""The probe of a provider inside a worker: device, libraries, plugins."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort

CPUINFO = Path("/proc/cpuinfo")


class ProbeBackend:
    """Looks behind a session that did not open."""

    def __init__(self, threads: int) -> None:
        ort.set_default_logger_severity(3)

    def device(self, kind: str) -> str:
        """Why there is no such device; empty if there is one."""
        return DEVICES[kind]()

    def plugin(self, library: str) -> list[dict[str, Any]]:
        """The devices that a plugin's library offers: each one's provider, vendor and kind."""
        from onnx_conformance.workers.onnxruntime.open_session import register

        return [
            {
                "provider": device.ep_name,
                "vendor": device.ep_vendor,
                "device": str(device.device.type).rpartition(".")[2],
                "version": str(device.ep_metadata.get("version", "")),
            }
            for device in register(library)
        ]


def nvidia() -> str:
    """NVIDIA's driver knows a GPU."""
    driver = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return f"no NVIDIA driver is here ({driver})"
    count = ctypes.c_int(0)
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return f"NVIDIA's driver finds no GPU (CUDA error {status})"
    return "" if count.value else "NVIDIA's driver counts 0 GPUs"


def amd() -> str:
    """The kernel's driver for AMD's GPUs."""
    return "" if Path("/dev/kfd").exists() else "no AMD GPU with ROCm's driver is here (/dev/kfd)"


def apple() -> str:
    """A Mac."""
    return "" if platform.system() == "Darwin" else f"this is {platform.system()}, not macOS"


def windows() -> str:
    """A Windows."""
    return "" if platform.system() == "Windows" else f"this is {platform.system()}, not Windows"


def qualcomm() -> str:
    """A Qualcomm system: Windows on Arm, or a Linux with its DSP's devices."""
    found = Path("/dev").glob("fastrpc-*") if Path("/dev").is_dir() else ()
    if any(found) or (platform.system() == "Windows" and "ARM" in platform.machine().upper()):
        return ""
    return f"no Qualcomm NPU is here ({platform.machine()} processor)"


def openvino() -> str:
    """Any device of OpenVINO's."""
    return "" if _openvino_devices() else "OpenVINO finds no device here"


def openvino_gpu() -> str:
    """A GPU of OpenVINO's."""
    found = _openvino_devices()
    if any(name.startswith("GPU") for name in found):
        return ""
    return f"OpenVINO finds no Intel GPU here, only {', '.join(found) or 'nothing'}"


def _openvino_devices() -> list[str]:
    from onnxruntime.capi import _pybind_state as state

    listed = getattr(state, "get_available_openvino_device_ids", None)
    return [str(name) for name in listed()] if listed else []


def bfloat16() -> str:
    """A processor that computes in bfloat16; on any other OpenVINO stays in float32."""
    return _lacks("bfloat16", "avx512_bf16", "amx_bf16")


def float16() -> str:
    """A processor that computes in float16."""
    return _lacks("float16", "avx512_fp16", "amx_fp16")


def _lacks(kind: str, *features: str) -> str:
    try:
        flags = set(CPUINFO.read_text(encoding="utf-8").split())
    except OSError:
        return f"nothing tells whether this processor has {kind} ({CPUINFO})"
    return "" if flags & set(features) else f"this processor has no {kind} ({', '.join(features)})"


# A record's `device` -> why there is none.
DEVICES: dict[str, Callable[[], str]] = {
    "nvidia": nvidia,
    "amd": amd,
    "apple": apple,
    "windows": windows,
    "qualcomm": qualcomm,
    "openvino": openvino,
    "openvino_gpu": openvino_gpu,
    "bfloat16": bfloat16,
    "float16": float16,
}
