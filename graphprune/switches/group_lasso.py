"""Group lasso on channels (Wen et al., "Learning Structured Sparsity in Deep Neural Networks",
NIPS 2016; Yuan and Lin 2006 for the lasso of groups itself).

The paper adds ``lambda * sum over channels of ||W_j||_2`` to the loss (its eq. 1 and 2). As a
switch each channel's weights are written ``s_j W_j``, with s_j = 1 at the start:

- Weights frozen: ``||s_j W_j|| = |s_j| ||W_j||``, the group lasso along the direction that training
  has found. Every norm counts as 1 here, ``lambda * sum |s_j|``: groups in units of their own
  trained norm, as in the non-negative garrote (Breiman 1995) and the adaptive lasso. The paper
  compares norms as they are, without Yuan and Lin's factor sqrt(size); but behind a batch norm the
  norm of a filter says nothing.
- Weights trained: a penalty on s alone could be had for nothing, by a small s and large weights.
  So the penalty is ``lambda / 2 * sum s_j^2`` together with weight decay ``lambda / 2 * ||W||^2``:
  of all factors with one product, their sum is least at ``lambda * |s_j| ||W_j||``, the paper's
  penalty on the weights that s multiplies. Weights that no switch multiplies get plain weight
  decay, the paper's R(W). A norm whose scale s is stays untrained itself, and leaves nothing to
  trade with: there the penalty is ``lambda * sum |s_j|`` as with frozen weights.

Solvers of the group lasso end each step with the proximal map of the norm, here ``s -> sign(s)
max(0, |s| - step * lambda)``, which makes zeros exact. Here log s is learned instead: scales fall
by equal factors for as long as nothing holds them, and the budget decides which channels go. The
minimum is the same. A scale that is zero has no order that a budget could go by, and as switches
stand before the nonlinearity, behind one relu passes no gradient: the proximal map, tried in Adam's
metric, ranked worse on small networks of digits. Below zero a scale would wake up a channel that
its nonlinearity silences, and following the subgradient of ``|s|`` scales swing about zero.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from graphprune.analysis.groups import Analysis
from graphprune.switches.affine import affine_index
from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchGroup, SwitchMethod, require_positive
from graphprune.switches.placement import switch_sites


@dataclass(frozen=True, kw_only=True)
class GroupLasso(SwitchMethod):
    """Scales under the group lasso, and how they are learned.

    Attributes:
        strength: lambda times the number N of examples, by which the learning loop divides.
        lr: Adam's step for the logarithms of the scales.
        norms: groups whose scales multiply norms and nothing else, found by :meth:`prepared`.
    """

    name: ClassVar[str] = "gl"
    strength: float = 20.0
    lr: float = 0.02
    norms: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, strength=self.strength, lr=self.lr)

    @property
    def step(self) -> float:
        """Adam's step for the logarithms of the scales."""
        return self.lr

    @property
    def decay(self) -> float:
        """The other half of the penalty, where weights are trained."""
        return self.strength

    def prepared(self, analysis: Analysis) -> GroupLasso:
        """With the groups that norms scale."""
        nodes = {node.name: node for node in analysis.module.graph.nodes}
        only: dict[str, bool] = {}
        for site in switch_sites(analysis):
            in_norm = affine_index(nodes[site.node], site.index) is not None
            only[site.group] = only.get(site.group, True) and in_norm
        made = copy.copy(self)
        object.__setattr__(made, "norms", frozenset(name for name, norm in only.items() if norm))
        return made

    def switch(self, group: SwitchGroup) -> LassoScale:
        """One scale for each channel."""
        halved = self.weights == "trained" and group.name not in self.norms
        return LassoScale(group.size, self, halved=halved)


class LassoScale(Switch):
    """A plain scale for each channel: nothing is random, and nothing is known of its spread.

    Attributes:
        halved: whether the weights that are scaled carry the other half of the penalty.
    """

    importance_range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def __init__(
        self, size: int, config: GroupLasso | None = None, *, halved: bool = False
    ) -> None:
        super().__init__(size)
        self.config = config or GroupLasso()
        self.halved = halved
        self.log_scale = nn.Parameter(torch.zeros(size))

    @property
    def is_random(self) -> bool:
        """It is not."""
        return False

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """The scale, (D,) or, repeated, (``examples``, D)."""
        scale = self.mean()
        return scale if examples is None else scale.expand(examples, self.size)

    def mean(self) -> torch.Tensor:
        """The scale s, (D,), above 0."""
        return self.log_scale.exp()

    def penalty(self) -> torch.Tensor:
        """``strength * sum s``; of half the squares where :attr:`halved`."""
        scale = self.mean()
        return self.config.strength * (scale.square() / 2 if self.halved else scale).sum()

    def importance(self) -> torch.Tensor:
        """The scale, (D,), no gradient."""
        return self.mean().detach()

    def uncertainty(self) -> torch.Tensor:
        """Zeros, (D,): a point estimate."""
        return torch.zeros_like(self.log_scale.detach())
