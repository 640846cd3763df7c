"""Watching the calls of submodules while a model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

Before = Callable[[str, tuple[Any, ...], dict[str, Any]], None]
After = Callable[[str, Any], Any]


@contextlib.contextmanager
def watched_calls(
    modules: Mapping[str, nn.Module], before: Before, after: After, *, always: bool = False
) -> Iterator[None]:
    """Watch every call of ``modules`` within the block.

    Args:
        modules: by name.
        before: called as ``before(name, args, kwargs)`` ahead of any other hook.
        after: called as ``after(name, output)``; what it returns, if not None, takes the place of
            the output.
        always: call ``after`` for a call that raised, too, with None for its output.
    """

    def enter(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            before(name, args, kwargs)

        return hook

    def leave(name: str) -> Callable[..., Any]:
        def hook(_: nn.Module, _args: Any, output: Any) -> Any:
            return after(name, output)

        return hook

    with contextlib.ExitStack() as stack:
        for name, module in modules.items():
            first = module.register_forward_pre_hook(enter(name), prepend=True, with_kwargs=True)
            stack.callback(first.remove)
            last = module.register_forward_hook(leave(name), always_call=always)
            stack.callback(last.remove)
        yield
