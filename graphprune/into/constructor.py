"""Which attribute of a layer says which dimension: ask the layer's own constructor.

A convolution of 64 to 64 channels that became 32 to 48 has two attributes of value 64 and no
operation that uses either. Layers keep their constructor's arguments under the same names, so a
layer can be built anew, without memory, from attributes; those sizes are right from which tensors
of the right shapes come.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from graphprune.into.sizes import Sizes, choices, size_attributes
from graphprune.quiet import quiet

_MOST_TRIALS = 128

Shapes = dict[str, tuple[int, ...]]


def constructed_attributes(module: nn.Module, before: Shapes, sizes: Sizes) -> dict[str, Any]:
    """Size attributes of a layer, as its constructor sets them for tensors of its present shapes.

    Args:
        module: a module without submodules, whose tensors have new shapes already.
        before: shapes that its own tensors had.
        sizes: what its sizes became.

    Returns:
        New values of the attributes that change; empty where the constructor cannot tell.
    """
    if next(module.children(), None) is not None:
        return {}
    given = _arguments(module)
    if given is None:
        return {}
    now, old = size_attributes(module), _build(module, given)
    if old is None or own_shapes(old) != before:
        return {}
    free = {key: choices(now[key], sizes.any_became) for key in given if key in now}
    if math.prod(map(len, free.values())) > _MOST_TRIALS:
        return {}
    wanted = own_shapes(module)
    for combination in itertools.product(*free.values()):
        new = _build(module, {**given, **dict(zip(free, combination, strict=True))})
        if new is not None and own_shapes(new) == wanted:
            first, second = size_attributes(old), size_attributes(new)
            derived = {k: v for k, v in second.items() if first.get(k) == now.get(k)}
            return {k: v for k, v in derived.items() if k in now and v != now[k]}
    return {}


def own_shapes(module: nn.Module) -> Shapes:
    """Shapes of a module's own parameters and buffers."""
    own: Mapping[str, torch.Tensor | None] = {**module._parameters, **module._buffers}
    return {key: tuple(t.shape) for key, t in own.items() if t is not None}


def _arguments(module: nn.Module) -> dict[str, Any] | None:
    """Constructor arguments found among the attributes; None if a needed one is missing."""
    try:
        parameters = inspect.signature(type(module)).parameters.values()
    except (TypeError, ValueError):
        return None
    given: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if hasattr(module, parameter.name):
            value = getattr(module, parameter.name)
            # A flag such as bias=True leaves a tensor, or None, of its name behind.
            flag = isinstance(value, torch.Tensor) or parameter.name in module._parameters
            given[parameter.name] = value is not None if flag else value
        elif parameter.default is parameter.empty:
            return None
    return given


def _build(module: nn.Module, arguments: dict[str, Any]) -> nn.Module | None:
    try:
        with quiet(), torch.random.fork_rng(devices=[]), torch.device("meta"):
            built = type(module)(**arguments)
    except Exception:  # noqa: BLE001 - the user's class may refuse such sizes in any way
        return None
    return built if isinstance(built, nn.Module) else None
