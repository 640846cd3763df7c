"""Weights scaled so that what they compute varies with the input, neither hardly nor wildly.

The idea is that of layer-sequential unit-variance initialisation (Mishkin & Matas, "All you need
is a good init", 2016), in one pass, and for weights that need it only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

LOW, HIGH = 0.3, 3.0


@contextmanager
def levelled(model: nn.Module, active: bool = True) -> Iterator[None]:
    """While open, a call of ``model`` scales weights as it goes.

    A weight (two dimensions or more, of a module without children, not an embedding, not shared)
    is scaled to give outputs, without the bias, of standard deviation 1 where that lies outside
    [0.3, 3] at the first call of its module; the call then gives the new outputs. What varies
    between examples only is no measure: raised to 1 it may leave the rest enormous, and attention
    over enormous values magnifies rounding errors.
    """
    handles = [m.register_forward_hook(_Level()) for m in _weighted(model)] if active else []
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _weighted(model: nn.Module) -> list[nn.Module]:
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    found = []
    for module in model.modules():
        weight = module._parameters.get("weight")
        if weight is None or weight.ndim < 2 or isinstance(module, nn.Embedding):
            continue
        if uses[id(weight)] == 1 and not list(module.children()):
            found.append(module)
    return found


class _Level:
    """The hook of one module; it acts once."""

    def __init__(self) -> None:
        self.done = False

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        weight = module.weight
        if self.done or not isinstance(output, torch.Tensor) or not output.is_floating_point():
            return None
        self.done = True
        spread = _spread(output - module.forward(*_zeros(args)))
        if not 0 < spread < float("inf") or LOW <= spread <= HIGH:
            return None
        assert isinstance(weight, torch.Tensor)
        weight.mul_(min(max(1 / spread, 1e-6), 1e6))
        return module.forward(*args)


def _spread(output: torch.Tensor) -> float:
    return float(output.detach().float().std()) if output.numel() > 1 else 0.0


def _zeros(args: tuple[Any, ...]) -> list[Any]:
    """Zeros in the place of tensors: what the bias alone gives, of one example where it can.

    With several arguments, one may say for each example of another what is to be done with it.
    """
    return [
        torch.zeros_like(value[:1] if len(args) == 1 and value.ndim > 1 else value)
        if isinstance(value, torch.Tensor)
        else value
        for value in args
    ]
