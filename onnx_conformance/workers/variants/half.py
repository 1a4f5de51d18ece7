"""Half precision: float16 inside, float32 at the interface."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnx_conformance.core.onnx_file import load_model

# What loses more than it gains in float16, by what the converter's authors found, and operators
# that sum or divide over many elements, whose partial sums leave float16's range first.
KEPT_IN_FLOAT32 = ("Softmax", "LogSoftmax", "ReduceSum", "ReduceMean", "LayerNormalization", "Pow")


def fp16(source: Path, target: Path) -> None:
    """Convert to float16 all but operators that sum and those of the converter's block list."""
    _convert(source, target, KEPT_IN_FLOAT32)


def fp16_all(source: Path, target: Path) -> None:
    """Convert to float16 all but the operators of the converter's block list."""
    _convert(source, target, ())


def _convert(source: Path, target: Path, kept: tuple[str, ...]) -> None:
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    whole = load_model(source)
    half = float16.convert_float_to_float16(
        whole,
        keep_io_types=True,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *kept, *_custom(whole)],
    )
    _join_casts(half)
    _forget_weights(half)
    # the converter appends the casts of inputs, and a graph must be in topological order
    written = OnnxModel(half)
    written.topological_sort()
    written.prune_graph()
    onnx.save(half, target)


def _custom(whole: onnx.ModelProto) -> set[str]:
    """The custom operators of a file, whose types are not known."""
    known = {schema.domain for schema in onnx.defs.get_all_schemas()} | {"ai.onnx", "com.microsoft"}
    return {node.op_type for node in whole.graph.node if node.domain not in known}


def _forget_weights(half: onnx.ModelProto) -> None:
    """Remove the types of initialisers that the exporter wrote down: initialisers have their own.

    torch_dynamo does, and the converter changes it to float16 though a kept operator (a
    LayerNormalization) reads the initialiser in float32: ONNX's checker refuses such a file.
    """
    weights = {tensor.name for tensor in half.graph.initializer}
    typed = [value for value in half.graph.value_info if value.name not in weights]
    del half.graph.value_info[:]
    half.graph.value_info.extend(typed)


def _join_casts(half: onnx.ModelProto) -> None:
    """Remove the float16 between two operators in float32.

    The converter casts what a kept operator gives to float16, also where float32 reads it next: a
    Softmax at the end would lose every probability below 6e-8.
    """
    narrowed = {
        node.output[0]: node.input[0]
        for node in half.graph.node
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16
    }
    for node in half.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT:
            node.input[0] = narrowed.get(node.input[0], node.input[0])
