"""What a forward leaves in its modules for the next call: masks and tables made in the first one.

While it is traced, it leaves fake tensors there, of no use to any later call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from graphprune.graph.state import state_kept
from graphprune.graph.trees import copy_of
from graphprune.into.state import SavedState
from graphprune.quiet import quiet


class BuffersMadeError(Exception):
    """A forward registered buffers while it was traced."""


@contextlib.contextmanager
def attributes_kept(model: nn.Module) -> Iterator[Callable[[], bool]]:
    """While open, a forward may set attributes and buffers; on leaving, all are as they were.

    Yields:
        What tells whether a forward has left other buffers, or buffers of other sizes.
    """
    before, buffers = SavedState.take(model), _buffers(model)
    made = []

    def look(*_: Any) -> None:  # at once, for torch.export puts buffers back that it knows
        made.append(_buffers(model) != buffers)

    handle = model.register_forward_hook(look, always_call=True)
    try:
        yield lambda: any(made)
    finally:
        handle.remove()
        before.restore()


@contextlib.contextmanager
def traced(model: nn.Module, *, first: bool) -> Iterator[None]:
    """A tracing that leaves nothing in the model.

    Raises:
        BuffersMadeError: the model registered buffers meanwhile, and it is the ``first`` call.
    """
    with attributes_kept(model) as buffers_made:
        try:
            yield
        finally:  # for they may well be why it fails
            if first and buffers_made():
                raise BuffersMadeError


def call_once(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Let a model make its buffers of real numbers, from copies of its inputs.

    torch.export takes a buffer that is made while it traces for an input, and writes into that.
    """
    own_args, own_kwargs = copy_of((args, kwargs))
    # Whatever is wrong with the call, the capture says it better.
    with contextlib.suppress(Exception), state_kept(model), quiet(), torch.no_grad():
        model(*own_args, **own_kwargs)


def _buffers(model: nn.Module) -> dict[str, str]:
    """The sizes of all buffers; as text, for they may be symbols, which do not compare."""
    named = model.named_buffers(remove_duplicate=False)
    return {name: str(tuple(buffer.shape)) for name, buffer in named}
