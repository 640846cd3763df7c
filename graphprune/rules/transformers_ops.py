"""Operators of the transformers library; imported when a graph first holds one of them."""

from __future__ import annotations

import torch
from torch import fx

from graphprune.exporters.onnx_experts import grouped_product
from graphprune.exporters.onnx_ops import onnx_translation
from graphprune.graph.flops import counts_as, grouped_rows
from graphprune.labels.slots import Labels
from graphprune.rules.context import Context
from graphprune.rules.experts import label_grouped_product
from graphprune.rules.rule import Rule, register


def label_grouped_mm_fallback(context: Context, node: fx.Node) -> Labels:
    """grouped_mm_fallback(x, weights, ends) stands in for aten._grouped_mm."""
    return label_grouped_product(context, node)


# Versions of the library differ in what they define.
if hasattr(torch.ops.transformers, "grouped_mm_fallback"):
    register(Rule(label_grouped_mm_fallback), torch.ops.transformers.grouped_mm_fallback.default)
    onnx_translation(torch.ops.transformers.grouped_mm_fallback.default)(grouped_product)
    counts_as(torch.ops.transformers.grouped_mm_fallback)(grouped_rows)
