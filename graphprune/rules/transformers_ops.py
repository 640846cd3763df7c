"""Operators of the transformers library; imported when a graph first holds one of them."""

from __future__ import annotations

import torch

from graphprune.rules.experts import GROUPED_PRODUCT, label_grouped_product
from graphprune.rules.rule import register

__all__ = ["label_grouped_product"]

# Stands in for aten._grouped_mm where that one cannot run. Versions differ in what they define.
if hasattr(torch.ops.transformers, "grouped_mm_fallback"):
    register(GROUPED_PRODUCT, torch.ops.transformers.grouped_mm_fallback.default)
