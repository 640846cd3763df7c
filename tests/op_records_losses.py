"""Records of losses between features: means and sums over them are those of the features kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from op_record import Record
from torch.nn import functional as F

Tensor = torch.Tensor

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse_loss": F.mse_loss,
    "l1_loss": F.l1_loss,
    "smooth_l1_loss": F.smooth_l1_loss,
    "huber_loss": F.huber_loss,
    "soft_margin_loss": F.soft_margin_loss,
    "kl_div": lambda x, y, number: torch.kl_div(x, y.sigmoid(), number),
    "binary_cross_entropy": lambda x, y, **kw: F.binary_cross_entropy(
        x.sigmoid(), y.sigmoid(), **kw
    ),
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "poisson_nll_loss": lambda x, y, number: torch.poisson_nll_loss(
        x, y, True, False, 1e-8, number
    ),
}
_WITH_NUMBER = ("kl_div", "poisson_nll_loss")  # in torch.nn.functional they warn, or are others
_NUMBERS = {"none": 0, "mean": 1, "sum": 2}


def _record(name: str, reduction: str) -> Record:
    def call(x: Tensor, y: Tensor, sizes: dict[str, Any]) -> Tensor:
        if name in _WITH_NUMBER:
            return x * _LOSSES[name](x, y, _NUMBERS[reduction])
        return x * _LOSSES[name](x, y, reduction=reduction)

    return Record(f"{name}, {reduction}", "b c n, b c n -> b c n", call)


LOSSES = [_record(name, reduction) for name in _LOSSES for reduction in _NUMBERS]
