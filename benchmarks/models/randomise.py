"""Weights that hide nothing: no zero, no constant, no dead channel, no vanishing signal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from benchmarks.models.levelling import levelled
from graphprune.capturing.capture import normalise_inputs
from graphprune.graph.trees import Inputs, copy_of, tensor_leaves, to_plain

AFFINE_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
SMALL, LARGE = 0.1, 100.0
NOISE, MOST, DAMPINGS = 1e-4, 50.0, 3


def _uniform(like: torch.Tensor, low: float, high: float, seed: torch.Generator) -> torch.Tensor:
    return torch.rand(like.shape, generator=seed) * (high - low) + low


@torch.no_grad()
def randomise(model: nn.Module, inputs: Any, seed: int = 0, *, level: bool = False) -> nn.Module:
    """Give ``model`` (in place; also returned) weights that make every numeric check count.

    Fresh networks have gammas of 1, statistics of 0 and 1, and often zeros (a class token, the
    last gamma of a residual branch): a wrong slice of such a tensor changes nothing. Here

    - norms get gammas in [0.5, 1.5] and betas in [-0.3, 0.3];
    - every other constant parameter gets values around its constant c, in [0.5 c, 1.5 c], and
      where c is close to zero (or enormous) normal values with standard deviation 0.1; a single
      zero, such as a gate, becomes 0.5;
    - batch norms get the statistics of ``inputs``, each then moved by a random amount, so that the
      signal neither dies out nor explodes on its way;
    - with ``level``, weights whose outputs hardly vary with the input, or far too much, are scaled,
      and the gammas of a network that magnifies rounding errors are halved, three times at most.

    What the model's class initialised at random stays otherwise. The model is left in eval mode.

    Args:
        model: any module.
        inputs: a tensor, a tuple of arguments or a dict of keyword arguments; floats of at least
            8 examples where there are batch norms, for statistics worth having.
        seed: of the random values.
        level: see above; the model runs on ``inputs`` even without batch norms.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, AFFINE_NORMS) and module.weight is not None:
            module.weight.copy_(_uniform(module.weight, 0.5, 1.5, generator))
            if module.bias is not None:
                module.bias.copy_(_uniform(module.bias, -0.3, 0.3, generator))
        elif _is_frozen_norm(module):
            for name, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5)):
                buffer = getattr(module, name)
                buffer.copy_(_uniform(buffer, low, low + 1, generator))
    for parameter in model.parameters():
        _vary(parameter, generator)
    model.eval()
    args, kwargs = normalise_inputs(inputs)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if norms or level:
        _calibrate(model, norms, (args, kwargs), generator, level)
    for _ in range(DAMPINGS if level else 0):
        if magnification(model, (args, kwargs)) <= MOST:
            break
        for module in model.modules():
            if isinstance(module, AFFINE_NORMS) and module.weight is not None:
                module.weight.mul_(0.5)
        _calibrate(model, norms, (args, kwargs), generator, level)
    return model


def _is_frozen_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm all of whose tensors are buffers, as detectors have."""
    buffers = dict(module.named_buffers(recurse=False))
    return {"weight", "bias", "running_mean", "running_var"} <= buffers.keys()


def _vary(parameter: torch.Tensor, generator: torch.Generator) -> None:
    """Replace a constant tensor by values that differ."""
    if not parameter.is_floating_point() or not parameter.numel():
        return
    constant = float(parameter.flatten()[0])
    if not bool((parameter == constant).all()):
        return
    if parameter.numel() == 1:
        if constant == 0:
            parameter.fill_(0.5)
    elif SMALL <= abs(constant) <= LARGE:
        parameter.mul_(_uniform(parameter, 0.5, 1.5, generator).to(parameter.dtype))
    else:
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


@torch.no_grad()
def magnification(model: nn.Module, inputs: Inputs) -> float:
    """How many times larger an error of the inputs is in the outputs, both as shares of the whole.

    A random network may be chaotic, as no trained one is: then float32 alone makes equal models
    differ. 0 where no input is floating.
    """
    generator = torch.Generator().manual_seed(0)

    def moved(value: torch.Tensor) -> torch.Tensor:
        if not value.is_floating_point():
            return value
        return value * (1 + NOISE * torch.randn(value.shape, generator=generator))

    args, kwargs = pytree.tree_map_only(torch.Tensor, moved, inputs)
    pairs = zip(
        tensor_leaves(to_plain(_answer(model, inputs))),
        tensor_leaves(to_plain(_answer(model, (args, kwargs)))),
        strict=True,
    )
    changes = [
        float((a - b).abs().max() / a.abs().max())
        for a, b in pairs
        if a.is_floating_point() and a.shape == b.shape and a.numel()
    ]
    return max(changes, default=0.0) / NOISE


def _answer(model: nn.Module, inputs: Inputs) -> Any:
    args, kwargs = copy_of(inputs)  # some forwards write into their inputs, or take lists apart
    return model(*args, **kwargs)


def _calibrate(
    model: nn.Module,
    norms: list[_BatchNorm],
    inputs: Inputs,
    generator: torch.Generator,
    level: bool,
) -> None:
    with levelled(model, level), _calibrated(norms, generator):
        _answer(model, inputs)


@contextmanager
def _calibrated(norms: list[_BatchNorm], generator: torch.Generator) -> Iterator[None]:
    """While open, a call gives each norm the statistics of what it reads, moved a little.

    The norm then works with those, so that the norms after it meet what they will meet later.
    """

    def calibrate(norm: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        if norm in done:
            return
        done.add(norm)
        values = args[0].detach().transpose(0, 1).flatten(1)
        mean, variance = values.mean(1), values.var(1, correction=0)
        # A channel that hardly varies here would otherwise be divided by nothing.
        variance = variance + 0.1 * variance.mean() + 1e-6
        mean = mean + variance.sqrt() * _uniform(mean, -0.3, 0.3, generator)
        variance = variance * _uniform(variance, 0.5, 1.5, generator)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    done: set[nn.Module] = set()
    handles = [norm.register_forward_pre_hook(calibrate) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
