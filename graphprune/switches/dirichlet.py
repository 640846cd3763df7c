"""The Dirichlet importance switch (Adamczewski and Park, "Dirichlet Pruning", eq. 2, 4, 5, 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy.special import betainc, betaincinv
from torch import distributions, nn

from graphprune.errors import UsageError
from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchGroup, SwitchMethod, require_positive

Variant = Literal["auto", "mean", "implicit", "per-example"]
Scale = Literal["mean-one", "sum"]

# Keeps phi away from 0, where a draw of float32 gamma variables is 0 / 0.
_SMALLEST_CONCENTRATION = 1e-3
# Where it is asked how sure a channel is unimportant.
_SPARSE_PRIOR = 0.1


@dataclass(frozen=True, kw_only=True)
class Dirichlet(SwitchMethod):
    """Importance switches with a Dirichlet posterior: shares of a group for its channels.

    Attributes:
        variant: "mean" scales by the analytic mean of the posterior, "implicit" by one draw for the
            whole batch (pathwise gradient), "per-example" by one draw for each example: as many
            samples as the batch is large, at the price of one forward pass. "auto" is "mean", but
            "per-example" without labels: the uniform switch then reproduces the original without
            error, and draws around it tell more than its own gradient.
        scale: "mean-one" multiplies the probability vector by D, so that the uniform switch is the
            identity; "sum" uses it as it is (the paper's form).
        prior: alpha_0 of the symmetric Dirichlet prior (eq. 4). None is 1, uniform on the simplex;
            but 0.1, few channels of importance, where the spread is used (:meth:`with_spread`).
        initial: starting value of every phi (eq. 5). The relative standard deviation of a drawn
            scale is about ``1 / sqrt(initial)``: 10 starts with 0.32, enough to try channels out
            and little enough for a deep network to go on working; 1 would be 100 % noise.
        mass: what the mean-one scale's mean falls to, linearly from 1 (the identity) over the first
            half of the steps, see :class:`DirichletSwitch`. On small trained networks cut to half
            their channels without fine-tuning, 0.5 kept far more accuracy than 1 or 0.25.
        lr: Adam's step as a fraction of ``initial``, so that its effect on the scale does not
            depend on where phi starts.
    """

    name: ClassVar[str] = "dirichlet"
    variant: Variant = "auto"
    scale: Scale = "mean-one"
    prior: float | None = None
    initial: float = 10.0
    mass: float = 0.5
    lr: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in ("auto", "mean", "implicit", "per-example"):
            raise UsageError(
                f"unknown Dirichlet variant '{self.variant}'; "
                "use auto, mean, implicit or per-example"
            )
        if self.scale not in ("mean-one", "sum"):
            raise UsageError(f"unknown switch scale '{self.scale}'; use mean-one or sum")
        require_positive(self.name, prior=self.alpha, lr=self.lr)
        if not self.initial > 2 * _SMALLEST_CONCENTRATION or not math.isfinite(self.initial):
            raise UsageError(
                f"the initial concentration must be above {2 * _SMALLEST_CONCENTRATION}, "
                f"got {self.initial}"
            )
        if not 0 < self.mass <= 1:
            raise UsageError(f"mass must be above 0 and at most 1, got {self.mass}")

    @property
    def alpha(self) -> float:
        """The prior as it is used."""
        return 1.0 if self.prior is None else self.prior

    @property
    def in_halves(self) -> bool:
        """The mean alone does not say what phi sums up to."""
        return self.variant == "mean"

    @property
    def step(self) -> float:
        """Adam's step for ``raw``."""
        return self.lr * self.initial

    def with_spread(self) -> Dirichlet:
        """With draws, and with a sparse prior, where these are left open.

        Without draws the loss sees the mean alone, and the data say nothing on the spread. Under
        the uniform prior a channel on which the data say nothing has phi 1, and its share may well
        be average.
        """
        prior = _SPARSE_PRIOR if self.prior is None else self.prior
        variant: Variant = "per-example" if self.variant == "auto" else self.variant
        return replace(self, variant=variant, prior=prior)

    def settled(self, *, teachable: bool) -> Dirichlet:
        """With "auto" decided; refuses a variant that would not move from the uniform switch."""
        if self.variant == "auto":
            return replace(self, variant="mean" if teachable else "per-example")
        stuck = not teachable and self.mass == 1 and self.scale == "mean-one"
        if self.variant == "mean" and stuck:
            raise UsageError(
                "the 'mean' variant with mass 1 cannot learn without labels: the uniform switch "
                "already reproduces the original exactly; use a smaller mass or the per-example "
                "variant"
            )
        return self

    def switch(self, group: SwitchGroup) -> DirichletSwitch:
        """Values without the batch in front take one draw for the whole batch."""
        if self.variant == "per-example" and not group.batched:
            return DirichletSwitch(group.size, replace(self, variant="implicit"))
        return DirichletSwitch(group.size, self)


class DirichletSwitch(Switch):
    """Posterior ``q(s) = Dir(phi)`` over the D channels of a group, ``phi = softplus(raw) > 0``.

    Attributes:
        mass: the mean-one scale sums to ``mass * D``. Below 1 not every channel can keep its scale
            of 1, so the channels compete for it even where the uniform switch is an optimum.
    """

    importance_range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def __init__(self, size: int, config: Dirichlet | None = None) -> None:
        config = config or Dirichlet(variant="mean")
        super().__init__(size, per_example=config.variant == "per-example")
        self.config = config
        self.mass = 1.0
        start = config.initial - _SMALLEST_CONCENTRATION
        inverse_softplus = start + math.log(-math.expm1(-start))
        self.raw = nn.Parameter(torch.full((size,), inverse_softplus, dtype=torch.float32))

    @property
    def can_close(self) -> bool:
        """Never: what one channel loses, others gain."""
        return False

    def advance(self, share: float) -> None:
        """Lower the mass over the first half of the steps."""
        self.mass = 1 + min(1.0, 2 * share) * (self.config.mass - 1)

    def phi(self) -> torch.Tensor:
        """Posterior concentrations, (D,), all positive, differentiable."""
        return nn.functional.softplus(self.raw) + _SMALLEST_CONCENTRATION

    @property
    def is_random(self) -> bool:
        """All variants but "mean" draw at random."""
        return self.config.variant in ("implicit", "per-example")

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """The scale by the configured variant, (D,) or (``examples``, D).

        Draws carry the implicit (pathwise) gradient of torch.distributions.
        """
        if not self.is_random:
            mean = self.mean()
            return mean if examples is None else mean.expand(examples, self.size)
        shape = torch.Size() if examples is None else torch.Size([examples])
        return self._factor() * distributions.Dirichlet(self.phi(), validate_args=False).rsample(
            shape
        )

    def mean(self) -> torch.Tensor:
        """Analytic mean ``phi_j / sum(phi)`` in the configured scale, (D,)."""
        phi = self.phi()
        if self.config.scale == "mean-one":
            return phi / phi.mean() * self.mass
        return phi / phi.sum()

    def uncertainty(self) -> torch.Tensor:
        """Posterior standard deviation of the scale, (D,), no gradient."""
        posterior = distributions.Dirichlet(self.posterior(), validate_args=False)
        return self._factor() * posterior.variance.sqrt()

    def importance(self) -> torch.Tensor:
        """Posterior mean times D whatever the scale: 1 is the average channel of its group."""
        phi = self.posterior()
        return phi / phi.mean()

    def interval(self, level: float) -> torch.Tensor | None:
        """Quantiles of the marginals, ``Beta(phi_j, sum(phi) - phi_j)``, times D; (2, D).

        None for the variant "mean": its loss does not see the spread.
        """
        if self.config.variant == "mean":
            return None
        phi = self.posterior().double().cpu().numpy()
        rest = phi.sum() - phi
        tails = [(1 - level) / 2, (1 + level) / 2]
        if self.size == 1:  # the one share is 1
            return torch.ones(2, 1)
        bounds = [betaincinv(phi, rest, tail) * self.size for tail in tails]
        return torch.tensor(np.stack(bounds), dtype=torch.float32)

    def below(self, share: float) -> torch.Tensor | None:
        """P(s_j < share / D), float64 (D,): the marginals are ``Beta(phi_j, sum(phi) - phi_j)``.

        None for the variant "mean": its loss does not see the spread.
        """
        if self.config.variant == "mean":
            return None
        phi = self.posterior().double().cpu().numpy()
        if self.size == 1:  # the one share is 1
            return torch.zeros(1, dtype=torch.float64)
        found = betainc(phi, phi.sum() - phi, share / self.size)
        return torch.from_numpy(np.asarray(found, dtype=np.float64))

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
            stacks.setdefault((switch.size, switch.config.alpha), []).append(switch.phi())
        totals = []
        for (_, prior), members in stacks.items():
            phi = torch.stack(members)
            posterior = distributions.Dirichlet(phi, validate_args=False)
            alpha = distributions.Dirichlet(torch.full_like(phi, prior), validate_args=False)
            totals.append(distributions.kl_divergence(posterior, alpha).sum())
        return torch.stack(totals).sum()

    def _factor(self) -> float:
        return self.size * self.mass if self.config.scale == "mean-one" else 1.0
