"""LAMP: a channel's magnitude next to what is left of its group when it is its turn to go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from graphprune.criteria.base import Evidence
from graphprune.criteria.magnitude import L2


@dataclass(frozen=True)
class Lamp:
    """Squared norm over the sum of those of all channels that are at least as large.

    Lee, Park, Mo, Ahn & Shin, "Layer-adaptive sparsity for the magnitude-based pruning" (ICLR
    2021), eq. 4, carried over from single weights in a layer to channels in a coupled group, with
    the squared group norm of :class:`graphprune.criteria.magnitude.L2` for the squared weight. As
    in the paper, equal channels are taken in their order. Within a group this orders as L2 does;
    it tells groups apart under global ranking, where the largest channel of each group has 1.
    """

    name: ClassVar[str] = "lamp"

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float64 in [0, 1], shape (D,)."""
        return {name: _lamp(norms.square()) for name, norms in L2().score(evidence).items()}


def _lamp(squares: torch.Tensor) -> torch.Tensor:
    order = squares.argsort(stable=True)
    ascending = squares[order]
    rest = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = ascending / rest.clamp(min=torch.finfo(squares.dtype).tiny)
    return scores
