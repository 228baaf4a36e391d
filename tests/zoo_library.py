"""Definitions of torchvision and timm, where they are installed, at widths a host can take in one bite.

Only the definitions are used, so an installation whose compiled part does not load (a wheel for other hardware) serves.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from torch import nn

COMPILED = ("torchvision._meta_registrations", "torchvision._autograd_registrations")


def library(name: str) -> Any:
    """``torchvision.models`` or ``timm``; skips the test, with the reason, where it cannot be had."""
    try:
        return importlib.import_module(name)
    except RuntimeError:  # torchvision's operators (none of a model's) are not there: their registration is left out
        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        sys.modules.update({module: ModuleType(module) for module in COMPILED})
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")


class Entry(NamedTuple):
    """Where the definition comes from, the network from it, and the side of its images."""

    source: str
    make: Callable[[Any], nn.Module]
    side: int


TV, TIMM = "torchvision.models", "timm"
LIBRARY = {
    "squeezenet1_1": Entry(TV, lambda tv: tv.squeezenet1_1(num_classes=10), 64),
    "googlenet": Entry(TV, lambda tv: tv.googlenet(num_classes=10, aux_logits=False, init_weights=False), 32),
    "mnasnet0_5": Entry(TV, lambda tv: tv.mnasnet0_5(num_classes=10), 64),
    "mobilenet_v2": Entry(TV, lambda tv: tv.mobilenet_v2(width_mult=0.35, num_classes=10), 64),
    "mobilenet_v3_small": Entry(TV, lambda tv: tv.mobilenet_v3_small(num_classes=10), 64),
    "resnet18": Entry(TV, lambda tv: tv.resnet18(num_classes=10), 32),
    "densenet121": Entry(TV, lambda tv: tv.DenseNet(8, (6, 12, 24, 16), 16, num_classes=10), 64),
    "efficientnet_b0": Entry(TV, lambda tv: tv.efficientnet_b0(num_classes=10), 64),
    "shufflenet_v2_x0_5": Entry(TV, lambda tv: tv.shufflenet_v2_x0_5(num_classes=10), 64),
    "lraspp_mobilenet_v3": Entry(
        TV, lambda tv: tv.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=4), 48
    ),
    "mobilenetv1": Entry(TIMM, lambda timm: timm.create_model("mobilenetv1_100", num_classes=10), 32),
    "tf_mobilenetv3": Entry(TIMM, lambda timm: timm.create_model("tf_mobilenetv3_small_075", num_classes=10), 64),
    "hrnet_w18_small": Entry(TIMM, lambda timm: timm.create_model("hrnet_w18_small", num_classes=10), 64),
    "nasnetalarge": Entry(
        TIMM, lambda timm: timm.models.nasnet.NASNetALarge(num_classes=10, stem_size=24, num_features=192), 64
    ),
}
FULL = {
    "densenet121": Entry(TV, lambda tv: tv.densenet121(), 224),
    "efficientnet_b0": Entry(TV, lambda tv: tv.efficientnet_b0(), 224),
    "hrnet_w32": Entry(TIMM, lambda timm: timm.create_model("hrnet_w32"), 224),
    "nasnetalarge": Entry(TIMM, lambda timm: timm.create_model("nasnetalarge"), 331),
}
