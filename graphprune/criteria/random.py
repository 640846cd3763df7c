"""Random scores: the control that every other method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from graphprune.criteria.base import Evidence


@dataclass(frozen=True)
class Random:
    """Uniform random importance from a seed."""

    name: ClassVar[str] = "random"

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float32 in [0, 1), shape (D,)."""
        generator = torch.Generator().manual_seed(evidence.seed)
        return {g.name: torch.rand(g.size, generator=generator) for g in evidence.analysis.groups}
