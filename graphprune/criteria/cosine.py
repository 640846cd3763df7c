"""Cosine similarity: of two channels that are alike, one can stand for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from graphprune.criteria.base import Evidence
from graphprune.criteria.rows import coupled_rows

ALONE = 2.0
"""Score of the last channel of a group, than which nothing can be less alike."""


@dataclass(frozen=True)
class Cosine:
    """One minus the cosine similarity to the channel that is most alike, of those still there.

    After Ayinde, Inanc & Zurada, "Redundant feature pruning for accelerated inference in deep
    neural networks" (Neural Networks, 2019), who cluster filters by cosine similarity, ``w_i . w_j
    / (||w_i|| ||w_j||)``, and keep one of each cluster (its number there was not checked). Here, so
    that every channel has a score: of the two channels most alike the one of smaller norm goes (the
    later one, if they are of one norm), with one minus their similarity for a score, and so on
    among the rest. Two copies are therefore not both unimportant. A channel is the vector of all
    weights of the coupled group that hold it, each tensor at mean square 1. One of zeros adds
    nothing and goes first.

    Needs memory for D x D float32 numbers.
    """

    name: ClassVar[str] = "cosine"

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float32 in [0, 2], shape (D,)."""
        return {
            group.name: torch.from_numpy(_scores(coupled_rows(evidence.analysis, group)))
            for group in evidence.analysis.groups
        }


def _scores(rows: torch.Tensor) -> np.ndarray:
    norms = rows.norm(dim=1)
    unit = rows / norms.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(1)
    alike = (unit @ unit.T).clamp(-1, 1).cpu().numpy()
    sizes = norms.cpu().numpy()
    there = sizes > 0
    scores = np.zeros(len(sizes), dtype=np.float32)
    alike[~there] = alike[:, ~there] = -np.inf
    np.fill_diagonal(alike, -np.inf)
    partner = alike.argmax(1)
    nearest = alike[np.arange(len(sizes)), partner]
    for _ in range(int(there.sum()) - 1):
        one = int(nearest.argmax())
        other = int(partner[one])
        goes = min((one, other), key=lambda channel: (sizes[channel], -channel))
        scores[goes] = 1 - alike[one, other]
        there[goes] = False
        alike[goes] = alike[:, goes] = nearest[goes] = -np.inf
        lost = np.flatnonzero(there & (partner == goes))
        partner[lost] = alike[lost].argmax(1)
        nearest[lost] = alike[lost, partner[lost]]
    scores[there] = ALONE
    return scores
