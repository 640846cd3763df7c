"""Inputs and outputs as trees of plain containers, which need no foreign class to be rebuilt."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of one call, ``(args, kwargs)``."""

_PLAIN = (tuple, list, dict, OrderedDict)


def register_dataclasses(tree: Any) -> bool:
    """Make the dataclasses among a tree's leaves trees of their fields; whether there were any.

    As torch.export asks users to do (``torch.export.register_dataclass``), for every process.
    """
    found = False
    while True:
        leaves = pytree.tree_leaves(tree)
        kinds = {type(leaf) for leaf in leaves if dataclasses.is_dataclass(type(leaf))}
        kinds = {kind for kind in kinds if kind not in pytree.SUPPORTED_NODES}
        if not kinds:
            return found
        for kind in kinds:
            torch.export.register_dataclass(kind)
        found = True


def tensor_leaves(tree: Any) -> list[torch.Tensor]:
    """The tensors of a pytree in flattening order; other leaves (None, numbers) are left out."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def copy_of(inputs: Inputs) -> Inputs:
    """The same arguments with every tensor cloned, for models that write into their inputs."""
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.detach().clone(), inputs)
    return tuple(args), dict(kwargs)


def replace_tensors(tree: Any, tensors: list[torch.Tensor]) -> Any:
    """The same tree with its tensor leaves replaced in flattening order.

    Raises:
        ValueError: the number of tensors differs.
    """
    leaves, spec = pytree.tree_flatten(tree)
    if sum(isinstance(leaf, torch.Tensor) for leaf in leaves) != len(tensors):
        raise ValueError(f"{len(tensors)} tensors do not fit a tree of {len(leaves)} leaves")
    new = iter(tensors)
    return pytree.tree_unflatten(
        [next(new) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], spec
    )


def to_plain(tree: Any) -> Any:
    """The tree with every container made a tuple, list or dict; leaves and their order stay.

    Classes that libraries register as pytree nodes (named tuples, model outputs) become dicts
    where their members have names, else tuples.
    """
    kind = type(tree)
    if pytree.tree_is_leaf(tree):
        return tree
    if kind in (list, tuple, dict):
        values = tree.items() if kind is dict else enumerate(tree)
        children = [(key, to_plain(value)) for key, value in values]
        return dict(children) if kind is dict else kind(value for _, value in children)
    if isinstance(tree, tuple):
        return tuple(to_plain(value) for value in tree)
    # A tree of one level: whatever lies below the root counts as a leaf.
    children = [to_plain(c) for c in pytree.tree_leaves(tree, is_leaf=lambda n: n is not tree)]
    names = _names(tree)
    if len(names) == len(children):
        return dict(zip(names, children, strict=True))
    return tuple(children)


def is_plain(tree: Any) -> bool:
    """Whether ``to_plain`` has nothing to do, so that a fresh process can rebuild the tree."""
    if pytree.tree_is_leaf(tree):
        return True
    if type(tree) not in _PLAIN:
        return False
    return all(map(is_plain, tree.values() if isinstance(tree, dict) else tree))


def _names(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return list(tree)
    if dataclasses.is_dataclass(tree):
        return [field.name for field in dataclasses.fields(tree)]
    return []
