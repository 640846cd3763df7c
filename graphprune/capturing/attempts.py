"""Modules that raise while they are captured, and a forward that then goes on another way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import fx, nn


@contextlib.contextmanager
def failed_calls_forgotten() -> Iterator[None]:
    """While open, a module call that raises leaves the tracer as it found it.

    A forward may try a layer with an argument that some layers take, and call it without one where
    that raises. torch.fx notes which modules are running and never strikes out one that raised; it
    then stumbles over it.
    """
    call = fx.Tracer.call_module

    def call_module(
        tracer: fx.Tracer,
        module: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        depth = len(tracer.module_stack)
        try:
            return call(tracer, module, forward, args, kwargs)
        except BaseException:
            while len(tracer.module_stack) > depth:
                tracer.module_stack.popitem()
            raise

    with mock.patch.object(fx.Tracer, "call_module", call_module):
        yield


@contextlib.contextmanager
def distributions_unchecked() -> Iterator[None]:
    """While open, ``torch.distributions`` do not look at the values that they are given.

    Their checks branch on values, which a graph cannot; the values stay what they are.
    """
    kind = torch.distributions.Distribution
    before = kind._validate_args
    kind.set_default_validate_args(False)
    try:
        yield
    finally:
        kind.set_default_validate_args(before)
