"""Weights that hide nothing: no zero, no constant, no dead channel, no vanishing signal."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

AFFINE_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def _uniform(like: torch.Tensor, low: float, high: float, seed: torch.Generator) -> torch.Tensor:
    return torch.rand(like.shape, generator=seed) * (high - low) + low


@torch.no_grad()
def randomise(model: nn.Module, inputs: torch.Tensor, seed: int = 0) -> nn.Module:
    """Give ``model`` (in place; also returned) weights that make every numeric check count.

    Fresh networks have gammas of 1, statistics of 0 and 1, and often zeros (a class token, the
    last gamma of a residual branch): a wrong slice of such a tensor changes nothing. Here

    - norms get gammas in [0.5, 1.5] and betas in [-0.3, 0.3];
    - every other constant parameter gets normal values with standard deviation 0.1;
    - batch norms get the statistics of ``inputs`` (float32, at least 8 examples), each then moved
      by a random amount, so that the signal neither dies out nor explodes on its way.

    What the model's class initialised at random stays. The model is left in eval mode.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, AFFINE_NORMS) and module.weight is not None:
            module.weight.copy_(_uniform(module.weight, 0.5, 1.5, generator))
            if module.bias is not None:
                module.bias.copy_(_uniform(module.bias, -0.3, 0.3, generator))
    for parameter in model.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    _calibrate(model, inputs, generator)
    return model.eval()


def _calibrate(model: nn.Module, inputs: torch.Tensor, generator: torch.Generator) -> None:
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of what it sees
    model.train()
    model(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        # A channel that never varies would otherwise be divided by nothing.
        variance.add_(1e-3 * variance.mean() + 1e-6)
        mean.add_(variance.sqrt() * _uniform(mean, -0.3, 0.3, generator))
        variance.mul_(_uniform(variance, 0.5, 1.5, generator))
