"""Autocast in a program: torch.export keeps such a block whole, and its casts in no place.

They are made when the block runs. Here the block is traced, so that each is a call of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx

from graphprune.errors import ModelError
from graphprune.io.text import reason
from graphprune.quiet import quiet

_ENABLED = 2
"""Where a block's call says whether autocast is on in it (or off, within another)."""


def with_casts(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program, or where it holds autocast blocks, one that computes the same without them.

    Raises:
        ModelError: torch cannot trace the blocks.
    """
    if not any(map(is_autocast, _nodes(program.graph_module))):
        return program
    try:
        with quiet():
            lowered: torch.export.ExportedProgram = program.run_decompositions({})
    except Exception as error:  # whatever an operator has against being traced
        raise ModelError(
            f"the model computes under autocast, which cannot be written out: {reason(error)}; "
            "capture it without autocast"
        ) from error
    return lowered


def is_autocast(node: fx.Node) -> bool:
    """Whether it calls a block in which autocast is on."""
    kind = getattr(node.target, "__name__", "")
    return kind == "wrap_with_autocast" and node.args[_ENABLED] is True


def _nodes(module: fx.GraphModule) -> Iterator[fx.Node]:
    """Those of a graph and of all graphs that it calls."""
    for part in module.modules():
        if isinstance(part, fx.GraphModule):
            yield from part.graph.nodes
