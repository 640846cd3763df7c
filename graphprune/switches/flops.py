"""FLOPs as the objective (Tang, Adhikari and Lin, "FLOPs as a Direct Optimization Objective for
Learning Sparse Neural Networks", NIPS 2018 workshop on compact deep neural networks).

The paper adds ``lambda * max(0, FLOPs(z) - T)`` to the loss: the FLOPs of the network that the
gates z leave open, above the number T asked for. It uses the hard concrete gates of ``l0``. The
number of that equation is left out: the paper's text was not at hand to check it.

What is done otherwise here: the paper takes the expectation of that hinge, whose gradient it
estimates with a score function over many draws of the gates. Here the hinge is taken of the
expectation,

    penalty = strength * max(0, E[MACs] / dense MACs - target),

where E[MACs] follows from the probabilities that channels are open, see
:class:`graphprune.switches.expected_macs.ExpectedMacs`: its gradient is exact and without noise.
By Jensen's inequality it is at most the paper's; they agree while practically all draws are above
the target. MACs are counted of the captured graph, whatever its operators are, as shares of those
of the dense model.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from graphprune.analysis.groups import Analysis
from graphprune.errors import UsageError
from graphprune.importance.methods import make_method
from graphprune.switches.base import Switch
from graphprune.switches.expected_macs import ExpectedMacs
from graphprune.switches.gate import Gate
from graphprune.switches.method import SwitchGroup, SwitchMethod, require_positive


@dataclass(frozen=True, kw_only=True)
class Flops(SwitchMethod):
    """Gates of any kind, learned under a budget of multiplications (FLOPs).

    Learn all groups at once (mode joint): one group alone can hardly reach a target for all.

    Attributes:
        gate: the kind of gate, as a method or by name, with options as in ``"l0{initial=0.8}"``.
            Its own penalty is not used.
        target: share of the dense MACs above which the penalty begins.
        strength: penalty for each unit of that share; N times the paper's lambda times the dense
            FLOPs. A hinge holds its target for any strength above what the last channels are worth
            to the loss, so this is large.
    """

    name: ClassVar[str] = "fdoo"
    gate: str | SwitchMethod = "l0"
    target: float = 0.5
    strength: float = 1e4
    meter: ExpectedMacs | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, strength=self.strength)
        if not 0 <= self.target < 1:
            raise UsageError(f"target of {self.name} must be at least 0, below 1: {self.target}")
        made = make_method(self.gate) if isinstance(self.gate, str) else self.gate
        if not isinstance(made, SwitchMethod):
            raise UsageError(f"gate of {self.name} must be a kind of switch, not {self.gate}")
        object.__setattr__(self, "gate", made)

    @property
    def gates(self) -> SwitchMethod:
        """The kind of gate."""
        assert isinstance(self.gate, SwitchMethod)
        return self.gate

    @property
    def step(self) -> float:
        """That of the gate."""
        return self.gates.step

    @property
    def draws(self) -> int:
        """Those of the gates."""
        return self.gates.draws

    @property
    def antithetic(self) -> bool:
        """As the gate is learned."""
        return self.gates.antithetic

    def prepared(self, analysis: Analysis) -> Flops:
        """With the costs of the model's channels."""
        return self._with(gate=self.gates.prepared(analysis), meter=ExpectedMacs(analysis))

    def settled(self, *, teachable: bool) -> Flops:
        """With the gate settled."""
        return self._with(gate=self.gates.settled(teachable=teachable), meter=self.meter)

    def switch(self, group: SwitchGroup) -> MeteredGate:
        """The gate, with its share in the cost of the whole network.

        Raises:
            UsageError: the costs are not known, or the switch is no gate.
        """
        if self.meter is None:
            raise UsageError(f"{self.name} must know the model: use method.prepared(analysis)")
        gate = self.gates.switch(group)
        if not isinstance(gate, Gate):
            raise UsageError(
                f"{self.gates.name} cannot be the gate of {self.name}: its switches do not tell "
                "the probability that a channel is open (graphprune.switches.gate.Gate)"
            )
        return MeteredGate(gate, group.name, self)

    def _with(self, *, gate: SwitchMethod, meter: ExpectedMacs | None) -> Flops:
        made = copy.copy(self)
        object.__setattr__(made, "gate", gate)
        object.__setattr__(made, "meter", meter)
        return made


class MeteredGate(Gate):
    """A gate whose penalty is what the whole network is expected to cost."""

    def __init__(self, gate: Gate, group: str, config: Flops) -> None:
        assert config.meter is not None
        super().__init__(gate.size, config.strength, per_example=gate.per_example)
        self.gate = gate
        self.group = group
        self.target = config.target
        self.meter = config.meter

    @property
    def is_budget(self) -> bool:
        """Always: nothing is asked for below the target."""
        return True

    @property
    def is_random(self) -> bool:
        """As the gate."""
        return self.gate.is_random

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """A draw of the gate."""
        self.gate.mirrored = self.mirrored
        return self.gate.sample(examples)

    def mean(self) -> torch.Tensor:
        """The gate's."""
        return self.gate.mean()

    def open_probability(self) -> torch.Tensor:
        """The gate's."""
        return self.gate.open_probability()

    def penalty(self) -> torch.Tensor:
        """What :meth:`joint_penalty` gives with all other groups open."""
        return self.joint_penalty([self])

    @classmethod
    def joint_penalty(cls, switches: Sequence[Switch]) -> torch.Tensor:
        """``strength * max(0, E[MACs] / dense - target)``, scalar."""
        gates = [switch for switch in switches if isinstance(switch, MeteredGate)]
        first = gates[0]
        expected = first.meter({gate.group: gate.open_probability() for gate in gates})
        return first.strength * torch.relu(expected - first.target)

    def below(self, share: float) -> torch.Tensor:
        """The gate's."""
        return self.gate.below(share)

    def advance(self, share: float) -> None:
        """The gate's schedule."""
        self.gate.advance(share)

    def mirrored_gradient(self, difference: torch.Tensor) -> None:
        """The gate's estimate."""
        self.gate.mirrored_gradient(difference)

    def uncertainty(self) -> torch.Tensor:
        """The gate's."""
        return self.gate.uncertainty()

    def posterior(self) -> torch.Tensor:
        """The gate's."""
        return self.gate.posterior()
