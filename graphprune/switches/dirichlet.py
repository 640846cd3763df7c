"""The Dirichlet importance switch (Adamczewski and Park, "Dirichlet Pruning", eq. 2, 4, 5, 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.distributions import Dirichlet, kl_divergence

from graphprune.errors import UsageError
from graphprune.switches.base import Switch

Variant = Literal["mean", "implicit", "per-example"]
Scale = Literal["mean-one", "sum"]

# Keeps phi away from 0, where a draw of float32 gamma variables is 0 / 0.
_SMALLEST_CONCENTRATION = 1e-3


@dataclass(frozen=True)
class DirichletConfig:
    """How a Dirichlet switch starts and is drawn.

    Attributes:
        variant: "mean" scales by the analytic mean of the posterior, "implicit" by one draw for the
            whole batch (pathwise gradient), "per-example" by one draw for each example: as many
            samples as the batch is large, at the price of one forward pass.
        scale: "mean-one" multiplies the probability vector by D, so that the uniform switch is the
            identity; "sum" uses it as it is (the paper's form).
        prior: alpha_0 of the symmetric Dirichlet prior (eq. 4).
        initial: starting value of every phi (eq. 5). The relative standard deviation of a drawn
            scale is about ``1 / sqrt(initial)``: 10 starts with 0.32, enough to try channels out
            and little enough for a deep network to go on working; 1 would be 100 % noise.
    """

    variant: Variant = "mean"
    scale: Scale = "mean-one"
    prior: float = 1.0
    initial: float = 10.0

    def __post_init__(self) -> None:
        if self.variant not in ("mean", "implicit", "per-example"):
            raise UsageError(
                f"unknown Dirichlet variant '{self.variant}'; use mean, implicit or per-example"
            )
        if self.scale not in ("mean-one", "sum"):
            raise UsageError(f"unknown switch scale '{self.scale}'; use mean-one or sum")
        if not self.prior > 0 or not math.isfinite(self.prior):
            raise UsageError(f"the Dirichlet prior must be positive, got {self.prior}")
        if not self.initial > 2 * _SMALLEST_CONCENTRATION or not math.isfinite(self.initial):
            raise UsageError(
                f"the initial concentration must be above {2 * _SMALLEST_CONCENTRATION}, "
                f"got {self.initial}"
            )


class DirichletSwitch(Switch):
    """Posterior ``q(s) = Dir(phi)`` over the D channels of a group, ``phi = softplus(raw) > 0``.

    Attributes:
        mass: the mean-one scale sums to ``mass * D``. Below 1 not every channel can keep its scale
            of 1, so the channels compete for it even where the uniform switch is an optimum.
    """

    def __init__(self, size: int, config: DirichletConfig | None = None) -> None:
        self_config = config if config is not None else DirichletConfig()
        super().__init__(size, per_example=self_config.variant == "per-example")
        self.config = self_config
        self.mass = 1.0
        start = self_config.initial - _SMALLEST_CONCENTRATION
        inverse_softplus = start + math.log(-math.expm1(-start))
        self.raw = nn.Parameter(torch.full((size,), inverse_softplus, dtype=torch.float32))

    def phi(self) -> torch.Tensor:
        """Posterior concentrations, (D,), all positive, differentiable."""
        return nn.functional.softplus(self.raw) + _SMALLEST_CONCENTRATION

    @property
    def is_random(self) -> bool:
        """All variants but "mean" draw at random."""
        return self.config.variant != "mean"

    def draw(self, examples: int | None = None) -> torch.Tensor:
        """The scale by the configured variant, (D,) or (``examples``, D).

        Draws carry the implicit (pathwise) gradient of torch.distributions.
        """
        if self.config.variant == "mean":
            mean = self.mean()
            return mean if examples is None else mean.expand(examples, self.size)
        shape = torch.Size() if examples is None else torch.Size([examples])
        return self._factor() * Dirichlet(self.phi(), validate_args=False).rsample(shape)

    def mean(self) -> torch.Tensor:
        """Analytic mean ``phi_j / sum(phi)`` in the configured scale, (D,)."""
        phi = self.phi()
        if self.config.scale == "mean-one":
            return phi / phi.mean() * self.mass
        return phi / phi.sum()

    def uncertainty(self) -> torch.Tensor:
        """Posterior standard deviation of the scale, (D,), no gradient."""
        posterior = Dirichlet(self.posterior(), validate_args=False)
        return self._factor() * posterior.variance.sqrt()

    def importance(self) -> torch.Tensor:
        """Posterior mean times D whatever the scale: 1 is the average channel of its group."""
        phi = self.posterior()
        return phi / phi.mean()

    def posterior(self) -> torch.Tensor:
        """phi, (D,), no gradient."""
        return self.phi().detach()

    def kl(self) -> torch.Tensor:
        """KL(Dir(phi) || Dir(alpha_0)) in nats, scalar (closed form of section 3.4)."""
        return self.joint_penalty([self])

    def penalty(self) -> torch.Tensor:
        """The KL divergence from the prior."""
        return self.kl()

    @classmethod
    def joint_penalty(cls, switches: Sequence[Switch]) -> torch.Tensor:
        """Sum of the KLs; switches of one size and prior share one evaluation."""
        stacks: dict[tuple[int, float], list[torch.Tensor]] = {}
        for switch in switches:
            assert isinstance(switch, DirichletSwitch)
            stacks.setdefault((switch.size, switch.config.prior), []).append(switch.phi())
        totals = []
        for (_, prior), members in stacks.items():
            phi = torch.stack(members)
            posterior = Dirichlet(phi, validate_args=False)
            alpha = Dirichlet(torch.full_like(phi, prior), validate_args=False)
            totals.append(kl_divergence(posterior, alpha).sum())
        return torch.stack(totals).sum()

    def _factor(self) -> float:
        return self.size * self.mass if self.config.scale == "mean-one" else 1.0
