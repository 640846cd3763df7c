"""Weights that hide nothing: no zero, no constant, no dead channel, no vanishing signal."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.models.levelling import levelled
from graphprune.capture import normalise_inputs

AFFINE_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
SMALL, LARGE = 0.1, 100.0


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
    - with ``level``, weights whose outputs hardly vary with the input, or far too much, are scaled.

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
    _calibrate(model, normalise_inputs(inputs), generator, level)
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


def _calibrate(
    model: nn.Module,
    inputs: tuple[tuple[Any, ...], dict[str, Any]],
    generator: torch.Generator,
    level: bool,
) -> None:
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms and not level:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of what it sees
        norm.training = True
    with levelled(model, level):
        model(*inputs[0], **inputs[1])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.training = False
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        # A channel that never varies would otherwise be divided by nothing.
        variance.add_(1e-3 * variance.mean() + 1e-6)
        mean.add_(variance.sqrt() * _uniform(mean, -0.3, 0.3, generator))
        variance.mul_(_uniform(variance, 0.5, 1.5, generator))
