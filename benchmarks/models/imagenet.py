"""ImageNet models of torchvision, without weights."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import torch
from torch import nn

# torchvision's compiled part fits one build of torch only. Its models need none of it, but on
# import the Python part gives fake kernels to two operators that the compiled part declares.
SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@functools.cache
def torchvision() -> ModuleType:
    """The torchvision package, also where its compiled part does not fit torch.

    Raises ImportError where it is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
    for name, schema in SCHEMAS.items():
        torch.library.define(name, schema)
    return importlib.import_module("torchvision")


def torchvision_model(name: str) -> nn.Module:
    """torchvision's model ``name``, freshly initialised and without auxiliary heads."""
    model: nn.Module = torchvision().models.get_model(name, weights=None)
    return model
