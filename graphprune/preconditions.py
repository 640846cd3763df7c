"""What must hold before the long work begins."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from graphprune.errors import DataError, ModelError
from graphprune.io import Loss


def check_asked(
    finetune_epochs: int, data: Any, loss: Loss | None, *, reconstruct: bool = False
) -> None:
    """Refuse what needs data where there are none.

    Raises:
        DataError: fine-tuning, reconstruction or a loss is asked for without data, or a negative
            number of epochs.
    """
    if finetune_epochs < 0:
        raise DataError(f"finetune_epochs is {finetune_epochs}; give 0 or more")
    if finetune_epochs and data is None:
        raise DataError("fine-tuning needs data; give --data (data=) or 0 epochs")
    if reconstruct and data is None:
        raise DataError("reconstruction needs data; give --data (data=), or leave it out")
    if loss is not None and data is None:
        raise DataError("a loss is used on data only; give --data (data=), or leave it out")


def check_values(module: nn.Module) -> None:
    """Refuse weights with which nothing can be compared; masks may be infinite.

    Raises:
        ModelError: a tensor is without data or holds NaN, or a parameter is infinite.
    """
    empty = [name for name, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    if empty:
        raise ModelError(
            f"{empty[0]} is on the meta device and has no values, so nothing can be cut or proved; "
            "load the weights first, or stop at the plan: capture, analyse, choose"
        )
    unfit = [name for name, t in module.named_parameters() if not bool(torch.isfinite(t).all())]
    unfit += [name for name, t in module.named_buffers() if bool(torch.isnan(t).any())]
    if unfit:
        raise ModelError(
            f"{unfit[0]} holds NaN or infinite values; "
            "no comparison with the model can be trusted, repair it first"
        )
