"""The frameworks in which native models are written: one record each."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_conformance.core.registry import Registry

RGB = tuple[float, float, float]
EAGER = "eager"


@dataclass(frozen=True)
class Framework:
    """What the library needs to know about a framework; its code is one folder of ``workers/``.

    Args:
        title: the framework's name as it is printed.
        module: the module whose import shows that the framework is installed.
        packages: distributions whose versions affect native's answers.
        backend: ``module:class``, hosted in a worker process.
        forms: forms other than eager in which native is timed, named as in the folder's
            ``timing``.
        forms_on_request: those of them that are timed only when named, because they take long or
            need a device.
        routes: the exporters to prefer where none is named, best first; empty where models of
            this framework are not exported.
        has_weights: whether native's weights can be read and searched for in a file.
        traced: whether native's intermediate tensors can be had.
        compiles_per_shape: whether inputs of another shape take as long as another model.
        runs_live: whether a live model can be judged in the process of the caller.
        takes: what users hand in as a model of this framework.
        model_module: the module that a process with such a model has imported; ``module`` if empty.
        user_models: ``module:class`` that builds and runs it to describe its inputs and outputs (a
            ``UserModels`` of ``workers/built_model.py``); empty where they are declared.
        mean, std: the normalisation that its image classifiers usually apply to pixels in 0..1.
    """

    name: str
    title: str
    module: str
    packages: tuple[str, ...]
    backend: str
    forms: tuple[str, ...] = ()
    forms_on_request: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    has_weights: bool = True
    traced: bool = True
    compiles_per_shape: bool = False
    runs_live: bool = True
    takes: str = ""
    model_module: str = ""
    user_models: str = ""
    mean: RGB = (0.485, 0.456, 0.406)
    std: RGB = (0.229, 0.224, 0.225)


FRAMEWORKS: Registry[Framework] = Registry("framework")


def register_framework(framework: Framework) -> None:
    """Add a framework.

    Raises:
        UsageError: the name is registered already.
    """
    FRAMEWORKS.register(framework.name, framework)


def exported_frameworks() -> list[Framework]:
    """The frameworks that have an export route."""
    return [framework for framework in FRAMEWORKS.values() if framework.routes]


# Class of precision -> native's form on a CUDA device in it.
ON_CUDA = {"float32": "cuda", "tf32": "cuda_tf32", "float16": "cuda_float16"}

register_framework(
    Framework(
        name="torch",
        title="PyTorch",
        module="torch",
        packages=("torch", "torchvision", "numpy"),
        backend="onnx_conformance.workers.torch.backend:TorchBackend",
        forms=("channels_last", "compile", *ON_CUDA.values()),
        forms_on_request=("compile", *ON_CUDA.values()),
        routes=("torch_dynamo", "torch_torchscript"),
        takes="a torch.nn.Module",
        user_models="onnx_conformance.workers.torch.user_models:TorchModels",
    )
)
register_framework(
    Framework(
        name="keras",
        title="Keras",
        module="tensorflow",
        packages=("tensorflow", "tensorflow-cpu", "keras", "numpy"),
        backend="onnx_conformance.workers.keras.backend:KerasBackend",
        forms=("function", "predict_on_batch"),
        routes=("tf2onnx_function", "tf2onnx_saved_model"),
        compiles_per_shape=True,
        runs_live=False,  # TensorFlow's threads of the caller flush denormal numbers to zero
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        takes="a keras.Model",
        model_module="keras",
        user_models="onnx_conformance.workers.keras.user_models:KerasModels",
    )
)
register_framework(
    Framework(
        name="python",
        title="Python",
        module="numpy",
        packages=("numpy",),
        backend="onnx_conformance.workers.python:PythonBackend",
        has_weights=False,
        traced=False,
        takes="a callable from arrays to arrays",
        user_models="onnx_conformance.workers.python:PythonModels",
    )
)
register_framework(
    Framework(
        name="onnx",
        title="ONNX",
        module="onnx",
        packages=("onnx", "onnxruntime", "onnxruntime-gpu", "numpy"),
        backend="onnx_conformance.workers.onnx.backend:OnnxBackend",
        takes="the pathlib.Path of an ONNX file",
        user_models="onnx_conformance.workers.onnx.user_models:OnnxModels",
    )
)
