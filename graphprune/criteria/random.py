"""Random scores: the control that every other method has to beat."""

from __future__ import annotations

from typing import ClassVar

import torch

from graphprune.groups import Analysis


class Random:
    """Uniform random importance from a seed."""

    name: ClassVar[str] = "random"

    def score(self, analysis: Analysis, seed: int = 0) -> dict[str, torch.Tensor]:
        """Scores by group name, float32 in [0, 1), shape (D,)."""
        generator = torch.Generator().manual_seed(seed)
        return {g.name: torch.rand(g.size, generator=generator) for g in analysis.groups}
