"""Names of torchvision's classifiers, which no process is started to look up."""

import importlib.util

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.run.user_models import _unknown_classifiers, adopt

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed"
)


def test_an_unknown_classifier_is_refused_with_those_that_resemble_it():
    with pytest.raises(UsageError, match=r"no model 'resnet19'; close: resnet18"):
        adopt([], ["torchvision:resnet19"])


def test_one_that_resembles_none_is_refused_with_some_that_there_are():
    with pytest.raises(UsageError, match=r"no model 'nope'; it has alexnet, .* and \d+ more"):
        adopt([], ["torchvision:nope"])


def test_known_ones_and_other_names_pass():
    known = ["vit_b_16", "mobilenet_v3_small", "wide_resnet50_2", "swin_v2_t", "alexnet"]
    assert _unknown_classifiers([f"torchvision:{name}" for name in known]) == {}
    assert _unknown_classifiers(["my_net"]) == {}
