"""Learning the switches with the model frozen (Dirichlet Pruning, eq. 7; algorithm 1, step 2)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

from graphprune.capture import Captured
from graphprune.devices import Batch, Runtime
from graphprune.errors import DataError, UsageError
from graphprune.io.loss import Loss, default_loss
from graphprune.progress import LossLog, Progress
from graphprune.switches.base import Switch, total_penalty
from graphprune.switches.dirichlet import DirichletConfig, DirichletSwitch, Scale, Variant
from graphprune.switches.network import SwitchedNetwork, batch_first_groups
from graphprune.switches.sites import SwitchSite, group_sizes


@dataclass(frozen=True)
class LearnConfig:
    """How switches are learned.

    Attributes:
        variant: "mean", "implicit" or "per-example", see :class:`DirichletConfig`; "auto" is
            "mean", but "per-example" without labels: the uniform switch then reproduces the
            original without error, and draws around it tell more than its own gradient.
        samples: draws per step of the sampling variants (the paper's k), one forward pass each.
        mode: "joint" learns all groups at once; "sequential" one at a time in graph order, each
            with every other group's switch left out.
        scale: see :class:`DirichletConfig`.
        prior: alpha_0.
        initial: starting concentration.
        kl_weight: factor of the KL, which eq. 7 divides by the number of training examples N.
        mass: what the mean-one scale's mean falls to, linearly from 1 (the identity) over the first
            half of the steps, see :class:`DirichletSwitch`. On small trained networks cut to half
            their channels without fine-tuning, 0.5 kept far more accuracy than 1 or 0.25.
        kl_anneal: share of the steps over which that factor grows from 0 to full.
        lr: Adam's step as a fraction of the initial concentration, so that its effect on the scale
            does not depend on where phi starts.
        epochs: passes over the data (each group's own in sequential mode).
        max_steps: stop after so many steps (of each round in sequential mode).
        seed: of the draws; the caller's random state is left as it was.
        mixed_precision: bfloat16 autocast where there is a GPU.
        make_switch: builds another kind of switch, called with (size, per_example_allowed).
    """

    variant: Literal["auto"] | Variant = "auto"
    samples: int = 1
    mode: Literal["joint", "sequential"] = "joint"
    scale: Scale = "mean-one"
    prior: float = 1.0
    initial: float = 10.0
    mass: float = 0.5
    kl_weight: float = 1.0
    kl_anneal: float = 0.0
    lr: float = 0.02
    epochs: int = 1
    max_steps: int | None = None
    seed: int = 0
    mixed_precision: bool = True
    make_switch: Callable[[int, bool], Switch] | None = None

    def __post_init__(self) -> None:
        if self.variant not in ("auto", "mean", "implicit", "per-example"):
            raise UsageError(
                f"unknown variant '{self.variant}'; use auto, mean, implicit or per-example"
            )
        if self.mode not in ("joint", "sequential"):
            raise UsageError(f"unknown mode '{self.mode}'; use joint or sequential")
        for name in ("samples", "epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_steps is not None and self.max_steps < 1:
            raise UsageError(f"max_steps must be at least 1, got {self.max_steps}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UsageError(f"the learning rate must be positive, got {self.lr}")
        if not 0 < self.mass <= 1:
            raise UsageError(f"mass must be above 0 and at most 1, got {self.mass}")
        if not self.kl_weight >= 0 or not 0 <= self.kl_anneal <= 1:
            raise UsageError("kl_weight must be at least 0 and kl_anneal between 0 and 1")
        DirichletConfig("mean", self.scale, self.prior, self.initial)


@dataclass(frozen=True)
class LearnResult:
    """What was learned.

    Attributes:
        scores: group to importance, float32 (D,) on the CPU: posterior mean times D.
        uncertainties: group to posterior standard deviation of the scale, (D,).
        posteriors: group to the posterior's parameters (Dirichlet: phi), (D,).
        history: per step ``step``, ``loss`` (data term), ``kl`` (summed over groups, nats).
        seconds: wall time.
        variant: the variant in effect.
    """

    scores: dict[str, torch.Tensor]
    uncertainties: dict[str, torch.Tensor]
    posteriors: dict[str, torch.Tensor]
    history: list[dict[str, float]]
    seconds: float
    variant: str


def learn_switches(
    captured: Captured,
    sites: Sequence[SwitchSite],
    data: Iterable[Batch],
    config: LearnConfig | None = None,
    loss: Loss | None = None,
    progress: Progress | None = None,
) -> LearnResult:
    """Learn one switch per group; ``captured`` itself stays as it is.

    Minimises ``E_q[loss] + kl_weight * KL / N`` over the parameters of the switches alone.

    Args:
        captured: the model; run in evaluation mode with frozen weights.
        sites: where each group's activations are scaled.
        data: batches ``(inputs, target)``, iterated once per epoch; ``inputs`` a tuple of tensors
            (or one tensor, or a dict by name), ``target`` a tensor or None.
        config: see :class:`LearnConfig`.
        loss: ``loss(output, target)``, a scalar; by default cross-entropy, and without targets the
            distance to the original's own outputs, which then stand in for the target.
        progress: called as ``progress("learn", steps done, steps in all, losses)``.

    Raises:
        DataError: there is no data.
        UsageError: the "mean" variant with mass 1 and without labels, which cannot learn.
        TrainingError: a loss is not finite.
    """
    config = config if config is not None else LearnConfig()
    started = time.perf_counter()
    if not sites:
        return LearnResult({}, {}, {}, [], 0.0, config.variant)
    labelled, batches, examples = _survey(data)
    variant = _variant(config, labelled or loss is not None)
    switches = _make_switches(captured, sites, config, variant)
    rounds = [list(switches)] if config.mode == "joint" else [[group] for group in switches]
    runtime = Runtime(mixed_precision=config.mixed_precision)
    steps = batches // runtime.processes * config.epochs
    steps = min(steps, config.max_steps or steps)
    if steps == 0:
        raise DataError(f"{batches} batches are too few for {runtime.processes} processes")
    log = LossLog("learn", steps * len(rounds), progress)
    task = _Task(runtime, config, loss or default_loss(labelled), labelled, examples, steps)
    with torch.random.fork_rng():
        for members in rounds:
            torch.manual_seed(config.seed + runtime.rank)
            chosen = [site for site in sites if site.group in members]
            active = {group: switches[group] for group in members}
            network = SwitchedNetwork(captured, chosen, active, runtime.device)
            task.learn(network, data, log)
    log.flush()
    return LearnResult(
        scores={g: s.importance().float().cpu() for g, s in switches.items()},
        uncertainties={g: s.uncertainty().float().cpu() for g, s in switches.items()},
        posteriors={g: s.posterior().float().cpu() for g, s in switches.items()},
        history=log.history,
        seconds=time.perf_counter() - started,
        variant=variant,
    )


@dataclass(frozen=True)
class _Task:
    """One learning problem; the steps are the same for every round of groups."""

    runtime: Runtime
    config: LearnConfig
    loss: Loss
    labelled: bool
    examples: int
    steps: int

    def learn(self, network: SwitchedNetwork, data: Iterable[Batch], log: LossLog) -> None:
        parameters = network.parameters()
        optimizer = torch.optim.Adam(parameters, lr=self.config.lr * self.config.initial)
        sampling = any(switch.is_random for switch in network.switches.values())
        samples = self.config.samples if sampling else 1
        step = 0
        while step < self.steps:
            for inputs, target in self.runtime.batches(data):
                optimizer.zero_grad(set_to_none=True)
                self._set_mass(network, step)
                fit = torch.zeros((), device=self.runtime.device)
                for _ in range(samples):
                    part = self._fit(network, inputs, target) / samples
                    part.backward()
                    fit = fit + part.detach()
                kl = total_penalty(network.switches.values())
                weight = self._kl_weight(step)
                if weight > 0:
                    (kl * weight).backward()
                self.runtime.average_gradients(parameters)
                optimizer.step()
                log.add(loss=fit, kl=kl)
                step += 1
                if step == self.steps:
                    break

    def _fit(self, network: SwitchedNetwork, inputs: Any, target: Any) -> torch.Tensor:
        args, kwargs = network.inputs(inputs)
        network.set_examples((args, kwargs))
        with self.runtime.autocast():
            if not self.labelled:
                with torch.no_grad():
                    target = network.original(*args, **kwargs)
            output = network.module(*args, **kwargs)
            return self.loss(output, target)

    def _set_mass(self, network: SwitchedNetwork, step: int) -> None:
        share = min(1.0, 2 * step / self.steps)
        for switch in network.switches.values():
            if isinstance(switch, DirichletSwitch):
                switch.mass = 1 + share * (self.config.mass - 1)

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


def _variant(config: LearnConfig, teachable: bool) -> Variant:
    """The variant in effect; refuses one that would not move from the uniform switch."""
    stuck = not teachable and config.mass == 1 and config.scale == "mean-one"
    if config.variant == "auto":
        return "mean" if teachable else "per-example"
    if config.variant == "mean" and stuck:
        raise UsageError(
            "the 'mean' variant with mass 1 cannot learn without labels: the uniform switch "
            "already reproduces the original exactly; use a smaller mass or the per-example variant"
        )
    return config.variant


def _make_switches(
    captured: Captured, sites: Sequence[SwitchSite], config: LearnConfig, variant: Variant
) -> dict[str, Switch]:
    """One switch per group, in the order in which the groups first appear in the graph."""
    order = {node.name: position for position, node in enumerate(captured.module.graph.nodes)}
    first: dict[str, int] = {}
    for site in sites:
        first[site.group] = min(order[site.node], first.get(site.group, len(order)))
    sizes = group_sizes(sites)
    batched = batch_first_groups(captured, sites)
    switches: dict[str, Switch] = {}
    for group in sorted(first, key=lambda name: first[name]):
        if config.make_switch is not None:
            switches[group] = config.make_switch(sizes[group], batched[group])
            continue
        own: Variant = "implicit" if variant == "per-example" and not batched[group] else variant
        dirichlet = DirichletConfig(own, config.scale, config.prior, config.initial)
        switches[group] = DirichletSwitch(sizes[group], dirichlet)
    return switches
