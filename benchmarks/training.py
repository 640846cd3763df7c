"""Plain training and evaluation of classifiers, for the dense baselines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.data import Augment, Images, loader
from graphprune.training.devices import Runtime, module_device, move


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum under a one-cycle schedule.

    ``epochs`` passes over the data; ``peak`` learning rate reached after ``warmup`` (share of all
    steps) and annealed to about zero; ``smoothing`` of the labels in the cross-entropy.
    """

    epochs: int
    peak: float
    warmup: float = 0.2
    batch_size: int = 128
    weight_decay: float = 5e-4
    smoothing: float = 0.0
    augment: Augment | None = None


@contextlib.contextmanager
def compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Calls of ``model`` go through torch.compile meanwhile, if ``wanted``."""
    if wanted:
        model.compile()
    try:
        yield
    finally:
        model._compiled_call_impl = None


@torch.no_grad()
def error_percent(model: nn.Module, images: Images, batch_size: int = 500) -> float:
    """Share of ``images`` that ``model`` (left in eval mode) classifies wrongly, in per cent.

    The model runs where the images are and goes back to its own device.
    """
    model.eval()
    home = module_device(model)
    move(model, images.pixels.device)
    wrong = torch.zeros((), dtype=torch.int64, device=images.pixels.device)
    for inputs, labels in loader(images, batch_size):
        wrong += (model(inputs).argmax(1) != labels).sum()
    move(model, home)
    return 100 * int(wrong) / len(images)


def train(
    model: nn.Module,
    images: Images,
    recipe: Recipe,
    *,
    seed: int = 0,
    log: Callable[[str], None] = lambda line: None,
) -> float:
    """Train ``model`` in place by ``recipe``; returns the seconds it took.

    On a GPU, where there is one, and in bfloat16 there. ``log`` receives a line about every 100
    batches. The model is left in eval mode, on its own device.
    """
    runtime, home = Runtime(), module_device(model)
    move(model, runtime.device)
    images = images.to(runtime.device)
    batches = loader(images, recipe.batch_size, shuffle=True, augment=recipe.augment, seed=seed)
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=recipe.peak,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=recipe.peak,
        total_steps=recipe.epochs * len(batches),
        pct_start=recipe.warmup,
        cycle_momentum=False,
    )
    started = time.perf_counter()
    model.train()
    for epoch in range(recipe.epochs):
        for step, (inputs, labels) in enumerate(batches):
            with runtime.autocast():
                loss = nn.functional.cross_entropy(
                    model(inputs), labels, label_smoothing=recipe.smoothing
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 100 == 0:
                seconds = time.perf_counter() - started
                log(f"epoch {epoch} step {step}/{len(batches)} loss {loss:.4f} {seconds:.0f} s")
    model.eval()
    move(model, home)
    return time.perf_counter() - started
