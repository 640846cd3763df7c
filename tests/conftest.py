"""What every test starts from: one thread, fixed seeds, and torchvision where it is installed."""

from __future__ import annotations

import importlib
import random
from typing import Any

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may use the global generator
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def torchvision_models() -> Any:
    """``torchvision.models``, as a source of well-known networks.

    torchvision's compiled operators load only beside the very torch that they were built for. Its
    classifiers need none of them, but its import describes two of them to torch, so these are
    declared where the library did not load.
    """
    try:
        return importlib.import_module("torchvision.models")
    except ModuleNotFoundError as error:
        pytest.skip(f"torchvision is not installed: {error}")
    except RuntimeError:
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou) -> Tensor"
            )
    return importlib.import_module("torchvision.models")
