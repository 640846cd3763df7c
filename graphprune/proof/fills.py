"""Fills: huge constants that a model writes over entries of an output (masked logits).

Beside 1e9 everything else is nothing, so an error relative to it says nothing of the rest. A fill
is told by its values: entries that are alike, again and again, and far above all others and above
one. A single large entry, or large ones that are unlike, are what the model computed, and beside
them the rest may have their rounding. So are ones (codes, probabilities that are certain).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

_ABOVE = 100
"""How far fills are above all else: nearer, the limits still say something of the rest."""

_ALIKE = 1e-3
"""Relative spread of one fill: it may be added to what it hides (``logits - 1e4 * mask``)."""

_KINDS = 4
"""How many fills an output has at most: two masks added are a third one."""


def largest_ordinary(tensors: Sequence[torch.Tensor]) -> float:
    """The size above which entries of an output are fills; infinity where there are none.

    Infinite entries, which always are fills, are not counted.

    Args:
        tensors: the same output for several calls; the more, the rarer a fill may be.
    """
    sizes = torch.cat([t.detach().cpu().abs().double().flatten() for t in tensors])
    sizes = sizes[sizes.isfinite()]
    found = math.inf
    for _ in range(_KINDS):
        if not sizes.numel():
            break
        lowest = float(sizes.max()) * (1 - _ALIKE)
        rest = sizes[sizes < lowest]
        if not rest.numel() or sizes.numel() - rest.numel() < 2:
            break
        highest = float(rest.max())
        if highest > 0 and _ABOVE * max(highest, 1.0) <= lowest:
            found = highest
        sizes = rest
    return found


def fills(values: torch.Tensor, largest: float) -> torch.Tensor:
    """Which entries are fills, by what :func:`largest_ordinary` found."""
    return values.isinf() | (values.abs() > largest)
