"""Learning the switches (Dirichlet Pruning, eq. 7; algorithm 1, step 2)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.errors import DataError, UsageError
from graphprune.importance.credibility import LEVEL
from graphprune.importance.halves import InTurn, Sides, interval
from graphprune.importance.penalty_limit import heaviest_weight
from graphprune.importance.spread import require_spread
from graphprune.io.loss import Loss, default_loss
from graphprune.progress import LossLog, Progress
from graphprune.switches.base import Switch, total_penalty
from graphprune.switches.dirichlet import Dirichlet
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.switches.network import SwitchedNetwork, batch_first_groups
from graphprune.switches.sites import SwitchSite, group_sizes
from graphprune.training.devices import Batch, Runtime
from graphprune.training.gradients import differentiating

MOST_PASSES = 50
"""Passes over the data at most, where their number is not given: few examples tell no more."""

SMALLEST_BATCH = 16
"""Below this many examples no batch is made smaller to gain steps."""


@dataclass(frozen=True)
class LearnConfig:
    """How switches of any kind are learned.

    Attributes:
        samples: draws per step of switches that are random (the paper's k), one forward pass each.
        mode: "joint" learns all groups at once; "sequential" one at a time in graph order, each
            with every other group's switch left out.
        kl_weight: factor of the penalty (of a variational switch the KL), which eq. 7 divides by
            the number of training examples N.
        limit_penalty: lower that factor where the penalty would close every channel alike, see
            :mod:`graphprune.importance.penalty_limit`; not with ``spread``, which reads the
            posterior itself.
        kl_anneal: share of the steps over which that factor grows from 0 to full.
        epochs: passes over the data (each group's own in sequential mode). None: one, and with
            frozen weights, where that is fewer steps than ``min_steps``, as many as reach them.
        min_steps: where ``epochs`` is None: steps in all, those of all groups together in
            sequential mode, but no more than :data:`MOST_PASSES` passes. A choice of ours: switches
            that move a few dozen steps from where they start rank little better than chance.
        max_steps: stop after so many steps (of each round in sequential mode).
        seed: of the draws; the caller's random state is left as it was.
        mixed_precision: bfloat16 autocast where there is a GPU.
        spread: what is learned of each scale's spread will be used too, as target ``auto`` does: a
            method that may learn with or without it learns it, one that knows none is refused.
        halves: learn two switches for each group, each from one half of the examples, in turn; the
            result is their mean, and their distance says how sure it is. None: where the method's
            own loss says nothing of that (:attr:`SwitchMethod.in_halves`). Never where weights are
            trained along, all data are one batch, or several processes learn.
    """

    samples: int = 1
    mode: Literal["joint", "sequential"] = "joint"
    kl_weight: float = 1.0
    limit_penalty: bool = True
    kl_anneal: float = 0.0
    epochs: int | None = None
    min_steps: int = 300
    max_steps: int | None = None
    seed: int = 0
    mixed_precision: bool = True
    spread: bool = False
    halves: bool | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("joint", "sequential"):
            raise UsageError(f"unknown mode '{self.mode}'; use joint or sequential")
        for name in ("samples", "epochs", "min_steps", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if not self.kl_weight >= 0 or not 0 <= self.kl_anneal <= 1:
            raise UsageError("kl_weight must be at least 0 and kl_anneal between 0 and 1")

    def batch_size(self, examples: int, wanted: int) -> int:
        """Examples per step, for whoever makes the batches.

        Args:
            examples: there are.
            wanted: per step, where they are enough.

        Returns:
            ``wanted``, or fewer, down to :data:`SMALLEST_BATCH`, where ``epochs`` is None and one
            pass would make fewer than ``min_steps`` steps: steps tell more than examples do.
        """
        if self.epochs is not None:
            return wanted
        steps = min(self.min_steps, self.max_steps or self.min_steps)
        return min(wanted, max(SMALLEST_BATCH, examples // steps))

    def steps(self, batches: int, rounds: int = 1) -> int:
        """Steps of one round.

        Args:
            batches: a process takes of them in one pass.
            rounds: 1, or the number of groups in sequential mode.
        """
        if self.epochs is not None:
            steps = batches * self.epochs
        else:
            wanted = math.ceil(self.min_steps / rounds)
            steps = max(batches, min(wanted, batches * MOST_PASSES))
        return min(steps, self.max_steps or steps)


@dataclass(frozen=True)
class LearnResult:
    """What was learned.

    Attributes:
        scores: group to importance, float32 (D,) on the CPU.
        uncertainties: group to standard deviation of the scale under what was learned, (D,).
        intervals: group to the credible interval of each channel's importance, (2, D), of level
            :data:`graphprune.importance.credibility.LEVEL`, for switches that have one.
        posteriors: group to the parameters of the posterior (Dirichlet: phi), (..., D).
        history: per step ``step``, ``loss`` (data term), ``kl`` (penalty summed over groups).
        seconds: wall time.
        method: the method as it was used.
        weights: parameters and buffers by name, on the CPU, as they were trained along with the
            switches; None where the weights were frozen.
        switches: group to its switch.
        halves: group to its switch as learned from each half of the examples; empty where nothing
            was learned in halves.
        penalty_share: the least share of its weight that the penalty had in any round; below 1
            where it would have drowned what the data say.
    """

    scores: dict[str, torch.Tensor]
    uncertainties: dict[str, torch.Tensor]
    intervals: dict[str, torch.Tensor]
    posteriors: dict[str, torch.Tensor]
    history: list[dict[str, float]]
    seconds: float
    method: SwitchMethod
    weights: dict[str, torch.Tensor] | None = None
    switches: dict[str, Switch] = field(default_factory=dict)
    halves: tuple[dict[str, Switch], ...] = ()
    penalty_share: float = 1.0


def learn_switches(  # noqa: PLR0913
    captured: Captured,
    sites: Sequence[SwitchSite],
    data: Iterable[Batch],
    method: SwitchMethod | None = None,
    *,
    config: LearnConfig | None = None,
    loss: Loss | None = None,
    progress: Progress | None = None,
) -> LearnResult:
    """Learn one switch per group; ``captured`` itself stays as it is.

    Minimises ``E_q[loss] + kl_weight * penalty / N`` over the parameters of the switches, and of
    the weights where the method trains them.

    Args:
        captured: the model; run in evaluation mode with frozen weights, unless the method trains
            them.
        sites: where each group's activations are scaled.
        data: batches ``(inputs, target)``, iterated once per epoch; ``inputs`` a tuple of tensors
            (or one tensor, or a dict by name), ``target`` a tensor or None.
        method: the kind of switch; None: :class:`Dirichlet`.
        config: see :class:`LearnConfig`.
        loss: ``loss(output, target)``, a scalar; by default cross-entropy, and without targets the
            distance to the original's own outputs, which then stand in for the target.
        progress: called as ``progress("learn", steps done, steps in all, losses)``.

    Raises:
        DataError: there is no data.
        UsageError: the method cannot learn from such data or in such a mode.
        TrainingError: a loss is not finite.
    """
    config = config if config is not None else LearnConfig()
    method = method if method is not None else Dirichlet()
    started = time.perf_counter()
    if not sites:
        return LearnResult({}, {}, {}, {}, [], 0.0, method)
    labelled, batches, examples = _survey(data)
    method = method.with_spread() if config.spread else method
    method = method.settled(teachable=labelled or loss is not None)
    trained = method.weights == "trained"
    if trained and config.mode == "sequential":
        raise UsageError(
            f"{method.name} trains the weights along with all switches; use mode joint with it"
        )
    switches = _make_switches(captured, sites, method)
    if config.spread:
        require_spread(method, switches.values())
    rounds = [list(switches)] if config.mode == "joint" else [[group] for group in switches]
    runtime = Runtime(mixed_precision=config.mixed_precision)
    if trained and config.epochs is None:
        config = replace(config, epochs=1)  # many passes over little data would overfit the weights
    steps = config.steps(batches // runtime.processes, len(rounds))
    if steps == 0:
        raise DataError(f"{batches} batches are too few for {runtime.processes} processes")
    log = LossLog("learn", steps * len(rounds), progress)
    halved = config.halves if config.halves is not None else method.in_halves
    apart = runtime.processes == 1 and batches > 1  # else every step mixes the halves
    sides = 2 if halved and apart and not trained else 1
    task = _Task(
        runtime, config, method, loss or default_loss(labelled), labelled, examples, steps, sides
    )
    weights, share = None, 1.0
    halves: tuple[dict[str, Switch], ...] = tuple({} for _ in range(sides) if sides > 1)
    with torch.random.fork_rng():
        for members in rounds:
            torch.manual_seed(config.seed + runtime.rank)
            chosen = [site for site in sites if site.group in members]
            active = {group: switches[group] for group in members}
            network = SwitchedNetwork(captured, chosen, active, runtime.device, trained=trained)
            limited = task.limited(network, data)
            if config.kl_weight > 0:
                share = min(share, limited.config.kl_weight / config.kl_weight)
            for half, learned in zip(halves, limited.learn(network, data, log), strict=True):
                half.update(learned)
            weights = network.weights() if trained else None
    log.flush()
    intervals = {group: _interval(group, switch, halves) for group, switch in switches.items()}
    return LearnResult(
        scores={g: s.importance().float().cpu() for g, s in switches.items()},
        uncertainties={g: s.uncertainty().float().cpu() for g, s in switches.items()},
        intervals={g: i.float().cpu() for g, i in intervals.items() if i is not None},
        posteriors={g: s.posterior().float().cpu() for g, s in switches.items()},
        history=log.history,
        seconds=time.perf_counter() - started,
        method=method,
        weights=weights,
        switches=switches,
        halves=halves,
        penalty_share=share,
    )


def _interval(
    group: str, switch: Switch, halves: Sequence[dict[str, Switch]]
) -> torch.Tensor | None:
    """What the switch says itself, and as wide as its halves are apart."""
    own = switch.interval(LEVEL)
    if not halves:
        return own
    both = interval(switch.importance(), [half[group].importance() for half in halves], LEVEL)
    if own is None:
        return both
    return torch.stack([torch.minimum(own.cpu(), both)[0], torch.maximum(own.cpu(), both)[1]])


@dataclass(frozen=True)
class _Task:
    """One learning problem; the steps are the same for every round of groups.

    ``sides`` is the number of switches of each group (:mod:`graphprune.importance.halves`).
    """

    runtime: Runtime
    config: LearnConfig
    method: SwitchMethod
    loss: Loss
    labelled: bool
    examples: int
    steps: int
    sides: int = 1

    def limited(self, network: SwitchedNetwork, data: Iterable[Batch]) -> _Task:
        """The task with a penalty that does not drown what the data say of these switches."""
        config = self.config
        if config.kl_weight == 0 or config.spread or not config.limit_penalty:
            return self
        most = self.examples * heaviest_weight(network, data, self._fit, self.runtime)
        return replace(self, config=replace(config, kl_weight=min(config.kl_weight, most)))

    def learn(
        self, network: SwitchedNetwork, data: Iterable[Batch], log: LossLog
    ) -> tuple[dict[str, Switch], ...]:
        """Learn the network's switches; returned are those of each side, if there are two."""
        switches = network.switches.values()
        parameters = network.parameters()
        sides = Sides(network.switch_parameters(), self.sides)
        optimizers = [self._optimizer(network) for _ in range(self.sides)]
        data = InTurn(data) if self.sides > 1 else data
        samples = self.config.samples if any(switch.is_random for switch in switches) else 1
        fit_of = self._mirrored if self.method.antithetic else self._fit
        step = 0
        while step < self.steps:
            for number, (inputs, target) in enumerate(self.runtime.batches(data)):
                sides.turn(number % self.sides)
                optimizer = optimizers[number % self.sides]
                optimizer.zero_grad(set_to_none=True)
                for switch in switches:
                    switch.advance(step / self.steps)
                fit = torch.zeros((), device=self.runtime.device)
                for _ in range(samples):
                    part = fit_of(network, inputs, target) / samples
                    if part.requires_grad:
                        with differentiating():
                            part.backward()
                    fit = fit + part.detach()
                kl = total_penalty(switches)
                weight = self._kl_weight(step)
                optimizer.param_groups[1]["weight_decay"] = self.method.decay * weight
                if weight > 0:
                    (kl * weight).backward()
                self.runtime.average_gradients(parameters)
                optimizer.step()
                log.add(loss=fit, kl=kl)
                step += 1
                if step == self.steps:
                    break
        halves = sides.copies(network.switches)
        sides.meet()
        return halves

    def _optimizer(self, network: SwitchedNetwork) -> torch.optim.Adam:
        """Adam; a side that takes every second step goes twice as far in it."""
        return torch.optim.Adam(
            [
                {"params": network.switch_parameters(), "lr": self.sides * self.method.step},
                {"params": network.weight_parameters(), "lr": self.method.weights_lr},
            ]
        )

    def _fit(self, network: SwitchedNetwork, inputs: Any, target: Any) -> torch.Tensor:
        args, kwargs = network.inputs(inputs)
        network.set_examples((args, kwargs))
        with self.runtime.autocast():
            if not self.labelled:
                with torch.no_grad():
                    target = network.original(*args, **kwargs)
            output = network.module(*args, **kwargs)
            return self.loss(output, target)

    def _mirrored(self, network: SwitchedNetwork, inputs: Any, target: Any) -> torch.Tensor:
        """The loss of one draw, with the antithetic estimate left in the switches' gradients."""
        switches = network.switches.values()
        fit = self._fit(network, inputs, target)
        for switch in switches:
            switch.mirrored = True
        with torch.no_grad():
            difference = self._fit(network, inputs, target) - fit
        for switch in switches:
            switch.mirrored = False
            switch.mirrored_gradient(difference / self.config.samples)
        return fit

    def _kl_weight(self, step: int) -> float:
        warm_up = self.config.kl_anneal * self.steps
        share = min(1.0, (step + 1) / warm_up) if warm_up > 0 else 1.0
        return self.config.kl_weight * share / self.examples


def _survey(data: Iterable[Batch]) -> tuple[bool, int, int]:
    """Whether there are labels, the number of batches, and the number of examples N."""
    first = next(iter(data), None)
    if first is None:
        raise DataError("there is no data to learn from; give at least one batch")
    labelled = first[1] is not None
    dataset = getattr(data, "dataset", None)
    if isinstance(data, Sized) and isinstance(dataset, Sized):
        return labelled, len(data), len(dataset)
    batches = examples = 0
    for inputs, _ in data:
        leaves = pytree.tree_leaves(inputs)
        batches += 1
        examples += int(next(t.shape[0] for t in leaves if isinstance(t, torch.Tensor)))
    if batches == 0:
        raise DataError("the data can be read only once; give a DataLoader or a list of batches")
    return labelled, batches, examples


def _make_switches(
    captured: Captured, sites: Sequence[SwitchSite], method: SwitchMethod
) -> dict[str, Switch]:
    """One switch per group, in the order in which the groups first appear in the graph."""
    order = {node.name: position for position, node in enumerate(captured.module.graph.nodes)}
    first: dict[str, int] = {}
    for site in sites:
        first[site.group] = min(order[site.node], first.get(site.group, len(order)))
    sizes = group_sizes(sites)
    batched = batch_first_groups(captured, sites)
    return {
        group: method.switch(SwitchGroup(group, sizes[group], batched[group]))
        for group in sorted(first, key=lambda name: first[name])
    }
