"""A copy of a module's tensors, with nothing shared."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx


class Owned(torch.nn.Module):
    """Copy of a module's tensors under the same names, ties kept, so nothing is shared with it."""

    def __init__(self, original: torch.nn.Module) -> None:
        super().__init__()
        memo: dict[int, torch.Tensor] = {}
        names = {name for name, _ in original.named_modules()}
        copies = {name: self if name == "" else torch.nn.Module() for name in sorted(names)}
        for name, module in original.named_modules():
            owner = copies[name]
            if isinstance(module, fx.GraphModule) and name:
                copies[name] = module  # the body of a higher-order op, which inline-regions inlines
                continue
            for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
                owner.register_parameter(key, _copy(parameter, memo))
            for key, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
                keep = key not in module._non_persistent_buffers_set
                owner.register_buffer(key, _copy(buffer, memo), persistent=keep)
            for key, value in vars(module).items():
                if isinstance(value, torch.Tensor) and not hasattr(owner, key):
                    owner.register_buffer(key, _copy(value, memo), persistent=False)
        for name in sorted(names - {""}):
            parent, _, leaf = name.rpartition(".")
            copies[parent].add_module(leaf, copies[name])


def _copy(tensor: Any, memo: dict[int, torch.Tensor]) -> Any:
    if id(tensor) not in memo:
        data = tensor.detach().clone()
        if isinstance(tensor, torch.nn.Parameter):
            data = torch.nn.Parameter(data, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = data
    return memo[id(tensor)]
