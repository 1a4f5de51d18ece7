"""The execution providers, one record each: how to open one, and in which precision it computes.

Adding a provider, or a precision mode of one, is one record here (docs/providers.md).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.registry import Registry

Names = tuple[str, ...]
Banned = tuple[tuple[str, str], ...]  # environment variables, and values of them, by spaces


@dataclass(frozen=True)
class Provider:
    """One execution provider in one precision mode; each mode runs in a process of its own.

    Args:
        name: its name for ``--provider``.
        ort_name: its name in ONNX Runtime.
        gpu: its cases carry the marker ``gpu``.
        options: provider options of a conformance run, as the provider spells them.
        precision: the class of precision that it computes in, which selects the error budget.
        knobs: this library's name of an option (``device_id``, ``threads``, ``cache_dir``) -> the
            provider's name.
        environment: variables that its process must have, where no option does the same.
        banned: variables that would override the precision that the options ask for, with the
            values that do so; without values, any value.
        deterministic: it promises the same bits for the same inputs.
        device: the name of the :class:`onnx_conformance.catalog.devices.Device` that it needs;
            empty for none.
        library: for a plugin, the file that ONNX Runtime must load, or the module that contains it.
        plugin: the module of the installed package that brings it as a plugin; empty for none.
        host: execnet's specification of a process in another environment, or the folder of what
            was recorded elsewhere; empty for this environment.
        machine: what answers there: device, driver and system, as far as they are known.
        base: for another environment, the name of the record that it was derived from.
        runtime: ONNX Runtime's version in that environment.
        packages: the distributions there that determine the build of ONNX Runtime.
        remedy: what to install, in one line.
    """

    name: str
    ort_name: str
    gpu: bool = False
    options: dict[str, str] = field(default_factory=dict)
    precision: str = "float32"
    knobs: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    banned: Banned = ()
    deterministic: bool = False
    device: str = ""
    library: str = ""
    plugin: str = ""
    host: str = ""
    base: str = ""
    runtime: str = ""
    packages: Names = ()
    machine: str = ""
    remedy: str = ""

    @property
    def markers(self) -> Names:
        """The pytest markers of its cases."""
        return ("gpu",) if self.gpu else ()

    @property
    def here(self) -> bool:
        """Whether its nodes run on this machine, so that its times can be compared with others."""
        return not self.host or self.host.startswith("popen")

    def opened_with(self, **knobs: Any) -> dict[str, str]:
        """Its options, with those of ``knobs`` that it supports.

        ``opened_with(threads=2)`` is ``{…, "num_of_threads": "2"}`` on OpenVINO, and the plain
        options for providers whose threads ONNX Runtime's session sets.
        """
        named = {
            self.knobs[word]: str(value) for word, value in knobs.items() if word in self.knobs
        }
        return {**self.options, **named}

    def overridden(self, environment: Mapping[str, str]) -> list[str]:
        """Which variable of ``environment`` overrides this precision; empty if none does."""
        known = {**environment, **self.environment}
        return [
            f"{name}={known[name]} overrides the precision of {self.name} ({self.precision}); "
            "unset it"
            for name, values in self.banned
            if known.get(name) and (not values or known[name] in values.split())
        ]

    def process(self) -> str:
        """execnet's specification of its process, with the environment that its precision needs."""
        variables = "".join(f"//env:{name}={value}" for name, value in self.environment.items())
        return f"{self.host or f'popen//python={sys.executable}'}{variables}"


_CUDA = {"device_id": "device_id"}
_TENSORRT = {**_CUDA, "cache_dir": "trt_engine_cache_path"}
# Engines are built anew: a cached one's name does not tell its precision mode. Options are given
# in full because TensorRT's provider reads the environment for what it is not given. Its switches
# are True and False in Python: ONNX Runtime refuses 0 and 1, which it takes of CUDA's.
_NO_LESS = {"trt_fp16_enable": "False", "trt_bf16_enable": "False", "trt_int8_enable": "False"}
_TF32 = "NVIDIA_TF32_OVERRIDE"  # overrides every option, for the life of a process
_FEWER_BITS = (
    ("ORT_TENSORRT_FP16_ENABLE", "1"),
    ("ORT_TENSORRT_BF16_ENABLE", "1"),
    ("ORT_TENSORRT_INT8_ENABLE", "1"),
)
_NVIDIA = 'pip install "onnxruntime-gpu[cuda,cudnn]" on a machine with an NVIDIA GPU and its driver'
_TRT = (
    "install what cuda needs, and NVIDIA's TensorRT with the library that the message names (for "
    'one that ends with .10: pip install "tensorrt-cu13<11")'
)
_OPENVINO = "pip install onnxruntime-openvino in an environment of its own"
# OpenVINO's option `precision` cannot select a processor's bf16, which OpenVINO uses by default
# where the processor has it, or f16.
_HINT = '{"CPU": {"INFERENCE_PRECISION_HINT": "%s"}}'
_MIGRAPHX = "pip install onnxruntime-migraphx on a machine with AMD's ROCm, in an environment "
_COREML = "pip install onnxruntime on macOS"

CPU = Provider("cpu", "CPUExecutionProvider", deterministic=True)
CUDA = Provider(
    "cuda",
    "CUDAExecutionProvider",
    gpu=True,
    options={"use_tf32": "0"},
    knobs=_CUDA,
    banned=((_TF32, "1"),),
    device="nvidia",
    remedy=_NVIDIA,
)
TENSORRT = Provider(
    "tensorrt",
    "TensorrtExecutionProvider",
    gpu=True,
    options=_NO_LESS,
    knobs=_TENSORRT,
    environment={_TF32: "0"},  # TensorRT uses TF32 by default, and its provider has no option
    banned=((_TF32, "1"), *_FEWER_BITS),
    device="nvidia",
    remedy=_TRT,
)
OPENVINO = Provider(
    "openvino",
    "OpenVINOExecutionProvider",
    # By default OpenVINO computes in bfloat16 on processors that have it.
    options={"device_type": "CPU", "precision": "FP32"},
    knobs={"threads": "num_of_threads", "cache_dir": "cache_dir"},
    device="openvino",
    remedy=_OPENVINO,
)
MIGRAPHX = Provider(
    "migraphx",
    "MIGraphXExecutionProvider",
    gpu=True,
    options={"migraphx_fp16_enable": "0"},
    knobs=_CUDA,
    banned=(("ORT_MIGRAPHX_FP16_ENABLE", "1"), ("ORT_MIGRAPHX_INT8_ENABLE", "1")),
    device="amd",
    remedy=f"{_MIGRAPHX}of its own",
)
COREML = Provider(
    "coreml",
    "CoreMLExecutionProvider",
    # Other units than the CPU may compute in half precision.
    options={"ModelFormat": "MLProgram", "MLComputeUnits": "CPUOnly"},
    knobs={"cache_dir": "ModelCacheDirectory"},
    device="apple",
    remedy=_COREML,
)

PROVIDERS: Registry[Provider] = Registry("provider")
for _provider in (
    CPU,
    CUDA,
    replace(
        CUDA,
        name="cuda_tf32",
        options={"use_tf32": "1"},
        precision="tf32",
        banned=((_TF32, "0"),),
    ),
    TENSORRT,
    replace(
        TENSORRT,
        name="tensorrt_tf32",
        environment={},
        precision="tf32",
        banned=((_TF32, "0"), *_FEWER_BITS),
    ),
    replace(
        TENSORRT,
        name="tensorrt_fp16",
        options={**_NO_LESS, "trt_fp16_enable": "True"},
        precision="float16",
        banned=((_TF32, "1"), ("ORT_TENSORRT_FP16_ENABLE", "0"), *_FEWER_BITS[1:]),
    ),
    MIGRAPHX,
    replace(
        MIGRAPHX,
        name="migraphx_fp16",
        options={"migraphx_fp16_enable": "1"},
        precision="float16",
        banned=(("ORT_MIGRAPHX_FP16_ENABLE", "0"), ("ORT_MIGRAPHX_INT8_ENABLE", "1")),
    ),
    Provider(
        "rocm",
        "ROCMExecutionProvider",
        gpu=True,
        knobs=_CUDA,
        device="amd",
        remedy="pip install onnxruntime-rocm up to 1.22, in an environment of its own; for newer "
        "versions use migraphx",
    ),
    Provider(
        "directml",
        "DmlExecutionProvider",
        gpu=True,
        knobs=_CUDA,
        device="windows",
        remedy="pip install onnxruntime-directml on Windows, in an environment of its own",
    ),
    OPENVINO,
    replace(
        OPENVINO,
        name="openvino_bf16",
        options={"device_type": "CPU", "load_config": _HINT % "bf16"},
        precision="bfloat16",
        device="bfloat16",
        remedy=f"{_OPENVINO}, on a processor with avx512_bf16 or amx_bf16",
    ),
    replace(
        OPENVINO,
        name="openvino_cpu_fp16",
        options={"device_type": "CPU", "load_config": _HINT % "f16"},
        precision="float16",
        device="float16",
        remedy=f"{_OPENVINO}, on a processor with avx512_fp16 or amx_fp16",
    ),
    replace(
        OPENVINO,
        name="openvino_fp16",
        gpu=True,
        options={"device_type": "GPU", "precision": "FP16"},
        precision="float16",
        device="openvino_gpu",
        remedy=f"{_OPENVINO}, on a machine with an Intel GPU",
    ),
    COREML,
    replace(
        COREML,
        name="coreml_fp16",
        options={"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"},
        precision="float16",
    ),
    Provider(
        "qnn",
        "QNNExecutionProvider",
        # The NPU has no float32: its provider computes such models in half precision.
        options={"backend_type": "htp", "enable_htp_fp16_precision": "1"},
        precision="float16",
        device="qualcomm",
        remedy="pip install onnxruntime-qnn on a machine with a Qualcomm NPU, in an environment "
        "of its own",
    ),
    Provider(
        "webgpu",
        "WebGpuExecutionProvider",
        gpu=True,
        device="vulkan",
        plugin="onnxruntime_ep_webgpu",
        remedy="pip install onnxruntime-webgpu in an environment of its own, or pip install "
        "onnxruntime-ep-webgpu and --provider-library=webgpu=onnxruntime_ep_webgpu; on Linux, "
        "Vulkan's loader (libvulkan1) and the GPU's driver for it",
    ),
    Provider(
        "nv_tensorrt_rtx",
        "NvTensorRTRTXExecutionProvider",
        gpu=True,
        knobs=_CUDA,
        environment={_TF32: "0"},
        banned=((_TF32, "1"),),
        device="nvidia",
        plugin="onnxruntime_ep_nv_tensorrt_rtx",
        remedy="pip install onnxruntime-ep-nv-tensorrt-rtx and --provider-library="
        "nv_tensorrt_rtx=onnxruntime_ep_nv_tensorrt_rtx, on a machine with an NVIDIA RTX GPU",
    ),
    Provider(
        "vitisai",
        "VitisAIExecutionProvider",
        # The NPU has no float32: such models are compiled to bfloat16.
        precision="bfloat16",
        knobs={"cache_dir": "cache_dir"},
        device="amd_npu",
        remedy="AMD's Ryzen AI Software, whose ONNX Runtime has it, on a machine with an AMD NPU",
    ),
    Provider(
        "xnnpack",
        "XnnpackExecutionProvider",
        knobs={"threads": "intra_op_num_threads"},
        remedy="build ONNX Runtime from source with --use_xnnpack",
    ),
):
    PROVIDERS.register(_provider.name, _provider)

# GPU providers whose cases every run collects; the rest join with --provider.
DEFAULT_PROVIDERS = ("cpu", "cuda", "tensorrt")

COARSER = ("float32", "tf32", "float16", "bfloat16", "int8")


def coarser(one: str, other: str) -> str:
    """The less precise of two classes: a half-precision file remains one under TF32.

    Raises:
        UsageError: a class is not in COARSER.
    """
    for precision in (one, other):
        if precision not in COARSER:
            raise UsageError(f"precision '{precision}' is none of {', '.join(COARSER)}")
    return max(one, other, key=COARSER.index)
