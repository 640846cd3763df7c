"""What is held back from pruning, call by call of the user's model."""

from __future__ import annotations

import os
import re
import sysconfig
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import fx

from graphprune.analysis.groups import Analysis
from graphprune.rules.context import MODEL_INPUT

_FRAME = re.compile(r"(?P<file>.+?):(?P<line>\d+)(?:, in \S+)?(?:: (?P<code>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Held:
    """Channels that must stay because of one call.

    Attributes:
        op: the operator, such as ``aten.softmax.int``; "" where no single call is to blame.
        node: the call's name in the graph.
        reason: why.
        source: the line of the user's model, as ``model.py:23: y = f(x)``; "" if unknown.
        channels: how many channels (of parameters) it holds.
        params: parameters that touch one of them. Several calls may hold the same ones.
        dims: the parameter dimensions these channels lie along, as ``parameter[dim]``.
    """

    op: str
    node: str
    reason: str
    source: str
    channels: int
    params: int
    dims: tuple[str, ...]

    @property
    def interface(self) -> bool:
        """Whether it is an input or an output of the model that holds them."""
        return self.node == "output" or self.reason.endswith(MODEL_INPUT)


def held_back(analysis: Analysis) -> tuple[Held, ...]:
    """Every call that holds channels back, those that hold the most parameters first."""
    by_call: dict[tuple[str, str], set[int]] = defaultdict(set)
    sources: dict[tuple[str, str], str] = {}
    for record in analysis.context.store.pins:
        key = (record.node, record.reason)
        by_call[key].update(np.unique(analysis.class_of[record.atoms.numpy()]).tolist())
        sources.setdefault(key, record.source)
    touching = _Touching(analysis)
    nodes = {node.name: node for node in analysis.module.graph.nodes}
    found = []
    for (node, reason), classes in by_call.items():
        channels, params, dims = touching.of(classes)
        if channels:
            op = _operator(nodes.get(node))
            source = short_source(sources[node, reason])
            found.append(Held(op, node, reason, source, channels, params, dims))
    return tuple(sorted(found, key=lambda one: (-one.params, -one.channels)))


def short_source(source: str) -> str:
    """A frame ``/long/way/model.py:23, in forward: code`` as ``model.py:23: code``.

    The path is taken from the working directory or from where packages are installed.
    """
    found = _FRAME.fullmatch(source)
    if found is None:
        return source
    line = f"{_short_path(found['file'])}:{found['line']}"
    return f"{line}: {found['code']}" if found["code"] else line


def _short_path(file: str) -> str:
    for folder in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), os.getcwd()):
        if Path(file).is_relative_to(folder):
            return str(Path(file).relative_to(folder))
    return file


def _operator(node: fx.Node | None) -> str:
    return str(node.target) if node is not None and node.op == "call_function" else ""


class _Touching:
    """Which parameters hold which channels."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._own = {name for name, _ in analysis.module.named_parameters()}  # tied ones once
        self._places: dict[int, dict[tuple[str, int], None]] = defaultdict(dict)
        for name, (labels, _) in analysis.leaves.items():
            for slot in labels:
                # A grid's channels lie along its last dimension.
                dim = max((d for d, size in enumerate(slot.shape) if size > 1), default=0)
                for one in np.unique(analysis.slot_classes(slot)):
                    if one >= 0:
                        self._places[int(one)][name, dim] = None

    def of(self, classes: set[int]) -> tuple[int, int, tuple[str, ...]]:
        """Channels that a parameter has, parameters that touch them, and where they lie."""
        known = [one for one in sorted(classes) if one in self._places]
        places = dict.fromkeys(place for one in known for place in self._places[one])
        without = np.ones(self._analysis.classes, dtype=bool)
        without[known] = False
        keep = self._analysis.keep(without)
        params = 0.0
        for name in dict.fromkeys(name for name, _ in places):
            labels, shape = self._analysis.leaves[name]
            if name in self._own:
                params += torch.Size(shape).numel() * (1 - keep.fraction(labels))
        return len(known), round(params), tuple(f"{name}[{dim}]" for name, dim in places)
