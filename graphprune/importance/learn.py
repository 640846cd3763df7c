"""Learning the switches (Dirichlet Pruning, eq. 7; algorithm 1, step 2)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from graphprune.capturing.capture import Captured
from graphprune.errors import DataError, UsageError
from graphprune.importance import handed_over
from graphprune.importance.credibility import LEVEL
from graphprune.importance.halves import InTurn, Sides, has_halves, interval
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.methods import resolve_switches
from graphprune.importance.penalty_limit import heaviest_weight
from graphprune.importance.spread import require_spread
from graphprune.importance.survey import one_pass, survey
from graphprune.io.loss import Loss, counted_labels, cross_entropy, reproduce, require_counted
from graphprune.progress import LossLog, Progress
from graphprune.switches.base import Switch, advance_all, mirror_all, total_penalty
from graphprune.switches.dirichlet import Dirichlet
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.switches.network import SwitchedNetwork, batch_first_groups
from graphprune.switches.sites import SwitchSite, group_sizes
from graphprune.training.devices import Batch, Runtime
from graphprune.training.distance import scales_of
from graphprune.training.gradients import adam_eps, differentiating, learning

_GROWING = 0.5
"""Share of the steps after which a penalty that holds a budget has its full weight."""


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
            was learned in halves. Their mean is ``switches`` where these were not learned from all
            examples at once.
        examples: number of them, N.
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
    examples: int = 0


@learning()
def learn_switches(  # noqa: PLR0913
    captured: Captured,
    sites: Sequence[SwitchSite],
    data: Iterable[Batch],
    method: str | SwitchMethod | None = None,
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
        method: the kind of switch, or its name; None: :class:`Dirichlet`.
        config: see :class:`LearnConfig`.
        loss: ``loss(output, target)``, a scalar; by default cross-entropy, and without targets the
            distance to the original's own outputs, which then stand in for the target.
        progress: called as ``progress("learn", steps done, steps in all, losses)``, and with "learn
            halves" where halves are learned beside the whole.

    Raises:
        DataError: there is no data, or no label that counts.
        UsageError: the method is no kind of switch, or cannot learn from such data or in such a
            mode.
        TrainingError: a loss is not finite.
    """
    config = config if config is not None else LearnConfig()
    method = resolve_switches(method) if method is not None else Dirichlet()
    started = time.perf_counter()
    if not sites:
        return LearnResult({}, {}, {}, {}, [], 0.0, method)
    with torch.random.fork_rng():  # a loader draws a seed whenever it is read
        labelled, batches, examples = survey(captured, data)
    method = handed_over.with_spread(method) if config.spread else method
    method = handed_over.settled(method, teachable=labelled or loss is not None)
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
    # Weights trained along, one batch or several processes would mix the halves in every step.
    apart = runtime.processes == 1 and batches > 1 and has_halves(data) and not trained
    halved = config.halves if config.halves is not None else method.in_halves
    halved = apart and halved and not config.spread
    beside = apart and not halved and config.halves is not False and config.intervals
    if loss is None and not labelled:
        loss = partial(reproduce, scales=scales_of(captured, one_pass(data), runtime.device))
    task = _Task(runtime, config, method, loss or cross_entropy, labelled, examples, steps)
    log = LossLog("learn", steps * len(rounds), progress)
    if beside:
        again = _make_switches(captured, sites, method)
        log_again = LossLog("learn halves", steps * len(rounds), progress)
        runs = [(1, switches, log), (2, again, log_again)]
    else:
        runs = [(2 if halved else 1, switches, log)]
    weights, share = None, 1.0
    halves: tuple[dict[str, Switch], ...] = ({}, {}) if beside or halved else ()
    with torch.random.fork_rng():
        for members in rounds:
            chosen = [site for site in sites if site.group in members]
            limited = None
            for sides, own, losses in runs:
                torch.manual_seed(config.seed + runtime.rank)
                active = {group: own[group] for group in members}
                network = SwitchedNetwork(captured, chosen, active, runtime.device, trained=trained)
                # The same for all runs, whose switches begin alike.
                limited = limited or task.limited(network, data)
                if config.kl_weight > 0:
                    share = min(share, limited.config.kl_weight / config.kl_weight)
                each = replace(limited, sides=sides).learn(network, data, losses)
                for half, learned in zip(halves, each, strict=False):
                    half.update(learned)
                losses.flush()
                weights = network.weights() if trained else None
    intervals = {
        group: _interval(method, group, switch, halves) for group, switch in switches.items()
    }
    return LearnResult(
        scores={g: handed_over.importance(method, g, s) for g, s in switches.items()},
        uncertainties={g: handed_over.uncertainty(method, g, s) for g, s in switches.items()},
        intervals={g: i.float().cpu() for g, i in intervals.items() if i is not None},
        posteriors={g: handed_over.posterior(method, g, s) for g, s in switches.items()},
        history=log.history,
        seconds=time.perf_counter() - started,
        method=method,
        weights=weights,
        switches=switches,
        halves=halves,
        penalty_share=share,
        examples=examples,
    )


def _interval(
    method: SwitchMethod, group: str, switch: Switch, halves: Sequence[dict[str, Switch]]
) -> torch.Tensor | None:
    """What the switch says itself, and as wide as its halves are apart."""
    own = handed_over.interval(method, group, switch, LEVEL)
    if not halves:
        return own
    found = [handed_over.importance(method, group, one[group]) for one in halves]
    both = interval(handed_over.importance(method, group, switch), found, LEVEL)
    both = both.clamp(*switch.importance_range)
    if own is None:
        return both
    return torch.stack([torch.minimum(own, both)[0], torch.maximum(own, both)[1]])


@dataclass(frozen=True)
class _Task:
    """One learning problem; the steps are the same for every round of groups.

    ``sides`` is the number of switches of each group (:mod:`graphprune.importance.halves`). From
    ``lightest``, where there is one, the weight of the penalty grows to what the config has.
    """

    runtime: Runtime
    config: LearnConfig
    method: SwitchMethod
    loss: Loss
    labelled: bool
    examples: int
    steps: int
    sides: int = 1
    lightest: float | None = None

    def limited(self, network: SwitchedNetwork, data: Iterable[Batch]) -> _Task:
        """The task with a penalty that does not drown what the data say of these switches."""
        config = self.config
        if config.kl_weight == 0 or not config.limit_penalty:
            return self
        most = self.examples * heaviest_weight(network, data, self._fit, self.runtime)
        if all(switch.is_budget for switch in network.switches.values()):
            return replace(self, lightest=min(config.kl_weight, most))
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
        is_random = any(switch.is_random for switch in switches)
        samples = self.config.samples * self.method.draws if is_random else 1
        fit_of = self._mirrored if self.method.antithetic else self._fit
        step, counted = 0, self.loss is not cross_entropy
        while step < self.steps:
            for number, (inputs, target) in enumerate(self.runtime.batches(one_pass(data))):
                sides.turn(number % self.sides)
                optimizer = optimizers[number % self.sides]
                optimizer.zero_grad(set_to_none=True)
                counted = counted or bool(counted_labels(target).any())
                advance_all(switches, step / self.steps)
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
                if weight > 0 and kl.requires_grad:
                    (kl * weight).backward()
                self.runtime.average_gradients(parameters)
                optimizer.param_groups[0]["lr"] = self._step(step / self.steps)
                optimizer.step()
                log.add(loss=fit, kl=kl)
                step += 1
                if step == self.steps:
                    break
        require_counted(counted, "the training data")
        halves = sides.copies(network.switches)
        sides.meet()
        return halves

    def _optimizer(self, network: SwitchedNetwork) -> torch.optim.Adam:
        weights = network.weight_parameters()
        return torch.optim.Adam(
            [
                {"params": network.switch_parameters(), "lr": self._step(0)},
                {"params": weights, "lr": self.method.weights_lr, "eps": adam_eps(weights)},
            ]
        )

    def _step(self, share: float) -> float:
        """Of the switches, after that share; a side that takes every second goes twice as far."""
        left = min(1.0, 2 * (1 - share)) if self.method.steps_fall else 1.0
        return self.sides * self.method.step * left

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
        mirror_all(switches, difference / self.config.samples)
        return fit

    def _kl_weight(self, step: int) -> float:
        weight, warm_up = self.config.kl_weight, self.config.kl_anneal * self.steps
        share = min(1.0, (step + 1) / warm_up) if warm_up > 0 else 1.0
        if self.lightest is not None:
            # By equal factors, so that channels close in the order of what they are worth.
            done = min(1.0, step / (_GROWING * self.steps))
            weight = self.lightest ** (1 - done) * weight**done
        return weight * share / self.examples


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
    with torch.random.fork_rng():
        return {
            group: handed_over.switch(method, SwitchGroup(group, sizes[group], batched[group]))
            for group in sorted(first, key=lambda name: first[name])
        }
