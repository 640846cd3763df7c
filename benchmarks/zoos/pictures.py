"""Example images that differ as pictures do: in brightness, in large shapes and in grain."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

PATCH = 16


def pictures(*shape: int) -> torch.Tensor:
    """Random float32 images or clips of shape (batch, …, height, width), about standard normal.

    Images of independent pixels are all alike to a network that averages over them: its outputs
    hardly vary, and a comparison of them proves little.
    """
    *lead, height, width = shape
    coarse = torch.randn(math.prod(lead), 1, -(-height // PATCH), -(-width // PATCH))
    shapes = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    brightness = torch.randn(math.prod(lead), 1, 1, 1)
    grain = torch.randn(math.prod(lead), 1, height, width)
    return (0.8 * shapes + 0.5 * brightness + 0.3 * grain).reshape(shape)
