"""Torch's own layers by the road that they take in training, also where no gradient is wanted.

``nn.TransformerEncoder`` and ``nn.MultiheadAttention`` have another road for evaluation without
gradients ("fast path"). It fills padded positions of the output with zeros, and hands nested
tensors from layer to layer. torch.export follows the road of training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

AS_IN_TRAINING = (
    "the model gives other values on the examples without gradients, where layers of torch fill "
    "padded positions with zeros (nn.TransformerEncoder's fast path); the compressed one computes "
    "them everywhere, as the model does in training"
)
"""For the user, where what a graph computes is that of training alone."""


@contextlib.contextmanager
def without_fast_paths() -> Iterator[None]:
    """While open, no such layer takes its road for evaluation without gradients."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
