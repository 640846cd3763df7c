"""Fine-tuning a shrunk model, with distillation from the original (algorithm 1, step 4)."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from graphprune.errors import DataError, UsageError
from graphprune.io.loss import counted_labels, require_counted
from graphprune.progress import LossLog, Progress
from graphprune.seeds import check_seed
from graphprune.training.devices import Batch, Runtime, module_device, move, run_module
from graphprune.training.gradients import adam_eps, differentiating, learning
from graphprune.training.objective import Objective


@dataclass(frozen=True)
class FinetuneConfig:
    """How a shrunk model is trained on.

    Attributes:
        epochs: passes over the data.
        max_steps: stop after so many steps.
        optimizer: "sgd" (with momentum) or "adamw".
        lr: peak learning rate, decayed to 0 along a cosine.
        warmup: share of the steps over which the rate rises to its peak.
        momentum: of SGD.
        weight_decay: on parameters of two or more dimensions; never on biases and norms.
        max_gradient: gradients are scaled down to this norm; 0 leaves them alone.
        augment: changes a batch's inputs on the device before each step (teacher and model see the
            same).
        seed: of augmentation, dropout and shuffling; the caller's random state stays as it was.
        mixed_precision: bfloat16 autocast where there is a GPU.
    """

    epochs: int = 1
    max_steps: int | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.02
    warmup: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    max_gradient: float = 5.0
    augment: Callable[[Any], Any] | None = None
    seed: int = 0
    mixed_precision: bool = True

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "adamw"):
            raise UsageError(f"unknown optimizer '{self.optimizer}'; use sgd or adamw")
        if self.epochs < 1 or (self.max_steps is not None and self.max_steps < 1):
            raise UsageError("epochs and max_steps must be at least 1")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UsageError(f"the learning rate must be positive, got {self.lr}")
        if not 0 <= self.warmup <= 1:
            raise UsageError(f"warmup must be between 0 and 1, got {self.warmup}")
        if self.weight_decay < 0 or self.max_gradient < 0:
            raise UsageError("weight_decay and max_gradient must not be negative")
        check_seed(self.seed)


@dataclass(frozen=True)
class FinetuneResult:
    """What fine-tuning did.

    Attributes:
        history: per step ``step``, ``loss``, and its parts.
        evaluations: result of ``evaluate`` before training and after each epoch; empty without it.
        best_epoch: epoch whose weights were kept (0: those from before); None without ``evaluate``.
        seconds: wall time.
    """

    history: list[dict[str, float]]
    evaluations: list[float]
    best_epoch: int | None
    seconds: float


@learning()
def finetune(
    module: nn.Module,
    data: Iterable[Batch],
    config: FinetuneConfig | None = None,
    objective: Objective | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    progress: Progress | None = None,
) -> FinetuneResult:
    """Train ``module`` in place; it ends on its own device in evaluation mode.

    Args:
        module: what to train, dropout and batch norm in training mode.
        data: batches ``(inputs, target)``, iterated once per epoch; target a tensor or None.
        config: see :class:`FinetuneConfig`.
        objective: see :class:`Objective`; its teacher is used frozen, in evaluation mode, and left
            as it was. Default: cross-entropy with the labels.
        evaluate: called with the module in evaluation mode before training and after each epoch;
            larger is better. The weights of the best epoch are kept.
        progress: called as ``progress("finetune", steps done, steps in all, losses)``.

    Raises:
        DataError: no data, nothing to learn from, or no label that counts.
        UsageError: the module has nothing to train.
        TrainingError: a loss is not finite.
    """
    config = config if config is not None else FinetuneConfig()
    if objective is None:
        objective = Objective()
    started = time.perf_counter()
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise UsageError("nothing to fine-tune: no parameter of the model requires a gradient")
    runtime = Runtime(mixed_precision=config.mixed_precision)
    per_epoch = _count(data) // runtime.processes
    total = min(per_epoch * config.epochs, config.max_steps or per_epoch * config.epochs)
    if total == 0:
        raise DataError("there is no data to fine-tune on; give at least one batch per process")
    home = module_device(module)
    move(module, runtime.device)
    teacher = objective.teacher
    try:
        if teacher is not None:
            teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
            move(teacher, runtime.device)
        own = replace(objective, teacher=teacher)
        run = _Run(runtime, config, own, total)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed + runtime.rank)
            history, evaluations, best = run.train(module, data, evaluate, progress)
    finally:
        module.eval()
        move(module, home)
    return FinetuneResult(history, evaluations, best, time.perf_counter() - started)


@dataclass(frozen=True)
class _Run:
    runtime: Runtime
    config: FinetuneConfig
    objective: Objective
    total: int

    def train(
        self,
        module: nn.Module,
        data: Iterable[Batch],
        evaluate: Callable[[nn.Module], float] | None,
        progress: Progress | None,
    ) -> tuple[list[dict[str, float]], list[float], int | None]:
        optimizer = _optimizer(module, self.config)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        log = LossLog("finetune", self.total, progress)
        keeper = _Keeper(module, evaluate)
        step, counted = 0, self.objective.loss is not None
        while step < self.total:
            module.train()
            for inputs, target in self.runtime.batches(data):
                counted = counted or target is None or bool(counted_labels(target).any())
                self._step(module, inputs, target, optimizer, log)
                schedule.step()
                step += 1
                if step == self.total:
                    break
            log.flush()
            self.runtime.average_buffers(module)
            keeper.look()
        require_counted(counted, "the training data")
        keeper.restore()
        return log.history, keeper.evaluations, keeper.best_epoch

    def _step(
        self,
        module: nn.Module,
        inputs: Any,
        target: Any,
        optimizer: torch.optim.Optimizer,
        log: LossLog,
    ) -> None:
        if self.config.augment is not None:
            inputs = self.config.augment(inputs)
        optimizer.zero_grad(set_to_none=True)
        with self.runtime.autocast():
            losses = self.objective(run_module(module, inputs), inputs, target)
        with differentiating():
            losses["loss"].backward()
        parameters = [p for p in module.parameters() if p.grad is not None]
        self.runtime.average_gradients(parameters)
        if self.config.max_gradient > 0:
            nn.utils.clip_grad_norm_(parameters, self.config.max_gradient)
        optimizer.step()
        log.add(**losses)

    def _rate(self, step: int) -> float:
        """Factor of the learning rate at a step: linear rise, then half a cosine down to 0."""
        rise = self.config.warmup * self.total
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, self.total - rise))))


class _Keeper:
    """Holds on to the weights of the best evaluation so far."""

    def __init__(self, module: nn.Module, evaluate: Callable[[nn.Module], float] | None) -> None:
        self._module = module
        self._evaluate = evaluate
        self._state: dict[str, torch.Tensor] = {}
        self.evaluations: list[float] = []
        self.best_epoch: int | None = None
        self.look()

    def look(self) -> None:
        """Evaluate, and remember the weights if they are the best so far."""
        if self._evaluate is None:
            return
        self._module.eval()
        with torch.no_grad():
            value = float(self._evaluate(self._module))
        value = -math.inf if math.isnan(value) else value  # which no later value would surpass
        self.evaluations.append(value)
        best = -math.inf if self.best_epoch is None else self.evaluations[self.best_epoch]
        # Equal is taken too: later weights have been trained for longer.
        if self.best_epoch is None or value >= best:
            self.best_epoch = len(self.evaluations) - 1
            self._state = {k: v.detach().clone() for k, v in self._module.state_dict().items()}

    def restore(self) -> None:
        """Put the best weights back."""
        if self._state:
            self._module.load_state_dict(self._state)


def _optimizer(module: nn.Module, config: FinetuneConfig) -> torch.optim.Optimizer:
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, eps=adam_eps(trained))
    nesterov = config.momentum > 0
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov)


def _count(data: Iterable[Batch]) -> int:
    """Number of batches, by counting where the data do not tell."""
    return len(data) if isinstance(data, Sized) else sum(1 for _ in data)
