"""Shape functions that torch lacks: without them a call of the operator fixes the batch."""

from __future__ import annotations

from typing import Any

import torch

_MARKED = (
    "fake_quantize_per_tensor_affine_cachemask",
    "fake_quantize_per_channel_affine_cachemask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
)
"""Fake quantisation: rounded values, and a mask of those within the range."""

_LIBRARY = torch.library.Library("aten", "IMPL")  # the functions are there as long as it lives


def add_shape_functions() -> None:
    """Register those that this torch has not."""
    for name in _MARKED:
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "Meta"):
            _LIBRARY.impl(name, _values_and_mask, "Meta")


def _values_and_mask(x: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
