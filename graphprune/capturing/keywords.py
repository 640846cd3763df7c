"""Forwards that take any keywords (``**kwargs``), with the keywords of one call spelt out."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn


@contextlib.contextmanager
def keywords_spelt_out(model: nn.Module, kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block the signature of ``model.forward`` names these keywords.

    torch.export (torch 2.13) takes free dimensions for named parameters only.
    """
    forward = model.forward
    signature = inspect.signature(forward)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        yield
        return
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    known = {parameter.name for parameter in named}
    named += [
        inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY) for k in kwargs if k not in known
    ]

    def spelt_out(*args: Any, **given: Any) -> Any:
        return forward(*args, **given)

    own = vars(model).get("forward")
    spelt_out.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
    model.forward = spelt_out
    try:
        yield
    finally:
        if own is None:
            del model.forward
        else:
            model.forward = own
