"""A framework's error in one line: the cause first, the boilerplate left out, the advice kept."""

import pytest

from onnx_conformance.core.text import LONGEST_REASON, cause_of, informative_lines
from onnx_conformance.workers.operator_translations import (
    MissingTranslation,
    OptimisationFailed,
    translation_errors,
)

EXPORT = (
    "TorchExportError: Failed to export the model with torch.export. \x1b[96mThis is step 1/3"
    "\x1b[0m of exporting the model to ONNX. Next steps:\n- Modify the model code for "
    "`torch.export.export` to succeed.\n- Debug it and submit a PR.\n\n## Exception summary\n\n"
    "<class 'torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode'>: Could not guard "
    "on data-dependent expression Eq(u0, 1).\n\nFor more information, run with "
    'TORCH_LOGS="dynamic"\nFor C++ stack trace, run with X\n\nThe following call raised this error:'
    '\n  File "net.py", line 9, in forward\n    if y.sum() > 0: return y\n\n\nThe error above '
    "occurred when calling torch.export.export.\n\n(Refer to the full stack trace above.)"
)
CONVERT = (
    "ConversionError: Failed to convert the exported program to an ONNX model. This is step 3/3 of "
    "it. Next steps:\n- Implement it.\n\n## Exception summary\n\n<class 'a.b.DispatchError'>: No "
    "ONNX function found for op.\n⬆️\n<class 'a.b.ConversionError'>: Error when translating node."
)
FIXED = (
    "TorchExportError: Failed to export the model with torch.export. This is step 1/3 of it.\n\n"
    "## Exception summary\n\n<class 'ValueError'>: Found the following conflicts between "
    "user-specified ranges and inferred ranges from model tracing:\n- Received user-specified dim "
    "hint Dim.DYNAMIC(min=None, max=None), but tracing inferred a static shape of 5 for dimension "
    "inputs[0].shape[1].\n\n(Refer to the full stack trace above for more information.)"
)
KERAS = (
    "ValueError: Exception encountered when calling Attend.call().\n\n\x1b[1mDimensions must be "
    "equal, but are 3 and 4\x1b[0m\n\nArguments received by Attend.call():\n  • x=tf.Tensor(…)"
)
AUTOGRAPH = (
    'StagingError: in user code:\n\n    File "net.py", line 3, in call  *\n        y = f(x)\n\n'
    "    ValueError: a shape is wrong\n"
)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            EXPORT,
            "GuardOnDataDependentSymNode: Could not guard on data-dependent expression Eq(u0, 1). "
            "(raised by if y.sum() > 0: return y, net.py:9) "
            "[TorchExportError: Failed to export the model with torch.export]",
        ),
        (
            CONVERT,
            "DispatchError: No ONNX function found for op. "
            "[ConversionError: Failed to convert the exported program to an ONNX model]",
        ),
        (
            FIXED,
            "ValueError: tracing inferred a static shape of 5 for dimension inputs[0].shape[1]. "
            "[TorchExportError: Failed to export the model with torch.export]",
        ),
        (KERAS, "ValueError: Dimensions must be equal, but are 3 and 4 (in Attend.call())"),
        (AUTOGRAPH, "ValueError: a shape is wrong"),
        ("KeyError: 'keras_tensor_12'", "KeyError: 'keras_tensor_12'"),
        ("two\n lines", "two lines"),
    ],
)
def test_the_cause_comes_first(message, cause):
    assert cause_of(message) == cause


def test_a_long_text_is_cut_and_keeps_its_advice():
    long = "x " * LONGEST_REASON
    text = f"E: {long}. Support for this operator was added in version 16, try it. End."
    found = cause_of(text)
    assert len(found) < LONGEST_REASON + 120
    assert found.endswith("…; Support for this operator was added in version 16, try it")


def test_of_last_words_the_empty_lines_and_the_boilerplate_are_left_out():
    assert informative_lines(EXPORT, 2) == [
        '  File "net.py", line 9, in forward',
        "    if y.sum() > 0: return y",
    ]


class UnsupportedOperatorError(Exception):
    """As torch calls it."""


def test_an_operator_that_a_later_opset_has_needs_no_translation():
    expected_text = (
        "Exporting the operator 'aten::grid_sampler' to ONNX opset version 14 is not supported. "
        "Support for this operator was added in version 16, try exporting with this version"
    )
    with (
        pytest.raises(MissingTranslation, match="from opset 16 on .* export at --opset 16 or abo"),
        translation_errors("torch_torchscript", "torchscript"),
    ):
        raise UnsupportedOperatorError(expected_text)


def test_a_failed_optimisation_is_told_by_its_cause_and_not_by_the_objects_around_it():
    class PassError(Exception):
        """As onnx_ir's, which wraps what went wrong once for each pass around it."""

    failure = PassError("when running the '<PassManager object at 0x7f9c>' pass")
    failure.__cause__ = RuntimeError("constant folding for node 'split'")
    failure.__cause__.__cause__ = KeyError("ndim")
    with (
        pytest.raises(OptimisationFailed, match="node 'split': KeyError: 'ndim'; .*optimize=False"),
        translation_errors("torch_dynamo", "dynamo"),
    ):
        raise failure
