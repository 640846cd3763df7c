"""Geometric median: a channel near the middle of the others can be made up for by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from graphprune.criteria.base import Evidence
from graphprune.criteria.rows import coupled_rows

_AT_ONCE = 1024


@dataclass(frozen=True)
class GeometricMedian:
    """Mean Euclidean distance of a channel's weights to those of all channels of its group.

    He, Liu, Wang, Hu & Yang, "Filter pruning via geometric median for deep convolutional neural
    networks acceleration" (CVPR 2019), eq. 8, where the filter that is nearest to all others goes
    first. They compare the filters of one layer; here a channel is the vector of all weights of the
    coupled group that hold it, those of its consumers included, each tensor at mean square 1. The
    sum of the paper is divided by the number of channels, so that groups can be compared.
    """

    name: ClassVar[str] = "fpgm"

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float32, shape (D,)."""
        scores = {}
        for group in evidence.analysis.groups:
            rows = coupled_rows(evidence.analysis, group)
            parts = [torch.cdist(part, rows).mean(1) for part in rows.split(_AT_ONCE)]
            scores[group.name] = torch.cat(parts).cpu()
        return scores
