"""One operator held against what it does to the kept channels alone, without the engine's help.

A record names the dimensions of an operator's tensors. The operator is put between layers that
bring channels forth and read them, the network is shrunk, and then

- all tensors must keep the same positions of a dimension of one name;
- the result must be that of the same call on slices of real tensors, cut by plain indexing
  (``kept``), or that of the full network with the removed channels set to zero (``zero``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor
Term = tuple[str, ...]

SIZES = {"b": 2, "c": 6, "d": 6, "o": 4, "n": 3, "h": 4, "w": 4, "z": 2, "k": 3, "one": 1, "g": 2}
"""Sizes by name; ``b`` is the batch."""

FEATURES = 3


@dataclass(frozen=True)
class Record:
    """How an operator is called, and what its dimensions mean.

    Attributes:
        name: of the record.
        axes: names of dimensions, ``"b c h w, c -> b c h w"``; inputs with ``b`` are computed from
            the network's inputs, others are parameters.
        call: the operator, given the tensors and a dict: sizes by name, and as ``kept_c`` what is
            kept of a dimension ``c``.
        free: names of dimensions of which channels must go; of all others none may.
        oracle: ``kept`` or ``zero``.
        maps: for a name of the output that no input has, its kept positions from those of the
            inputs' names.
        sizes: other than :data:`SIZES`.
        target: of the plan.
    """

    name: str
    axes: str
    call: Callable[..., Tensor]
    free: str = "c"
    oracle: str = "kept"
    maps: Mapping[str, Callable[[dict[str, list[int]]], list[int]]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    target: str = "channels=0.5"

    @property
    def size(self) -> dict[str, int]:
        """Size of every name."""
        return {**SIZES, **self.sizes}

    @property
    def inputs(self) -> list[Term]:
        """Names of the dimensions of each input."""
        return [tuple(term.split()) for term in self.axes.split("->")[0].split(",")]

    @property
    def output(self) -> Term:
        """Names of the dimensions of the output."""
        return tuple(self.axes.split("->")[1].split())

    @property
    def read(self) -> str:
        """The dimension of the output that the next layer reads."""
        found = [name for name in self.output if name in (*self.free.split(), *self.maps, "c")]
        return found[0] if found else self.output[-1]

    @property
    def dense(self) -> dict[str, Any]:
        """What the call is told of a network that has lost nothing."""
        return {**self.size, **{f"kept_{name}": list(range(n)) for name, n in self.size.items()}}

    def brought(self, term: Term) -> str:
        """The dimension of an input that a layer brings forth."""
        found = [name for name in term if name in ("c", "d", "o")]
        return found[0] if found else term[-1]


class Around(nn.Module):
    """The operator, with layers before and behind it."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record
        self.before = nn.ModuleDict()
        self.own = nn.ParameterDict()
        for number, term in enumerate(record.inputs):
            shape = [record.size[name] for name in term]
            if "b" in term:
                size = record.size[record.brought(term)]
                self.before[f"x{number}"] = nn.Linear(FEATURES, size)
            else:
                self.own[f"p{number}"] = nn.Parameter(torch.rand(shape) + 0.3)
        self.example_inputs = self._example()
        self.behind = nn.Parameter(torch.randn(record.size[record.read], 5))

    def _example(self) -> tuple[Tensor, ...]:
        """Inputs: the brought dimension is replaced by features, which come last."""
        found = []
        for term in self.record.inputs:
            if "b" in term:
                rest = [self.record.size[n] for n in term if n != self.record.brought(term)]
                found.append(torch.randn(*rest, FEATURES, dtype=torch.float64))
        return tuple(found)

    def forward(self, *inputs: Tensor) -> Tensor:
        given = iter(inputs)
        operands = []
        for number, term in enumerate(self.record.inputs):
            if "b" in term:
                value = self.before[f"x{number}"](next(given))
                operands.append(value.movedim(-1, term.index(self.record.brought(term))))
            else:
                operands.append(self.own[f"p{number}"])
        return read_out(self.record, self.record.call(*operands, self.record.dense), self.behind)


def read_out(record: Record, value: Tensor, matrix: Tensor) -> Tensor:
    """The layer behind: a product over the dimension that it reads."""
    return value.movedim(record.output.index(record.read), -1) @ matrix


def named(record: Record) -> list[tuple[str, int, str]]:
    """(parameter, dimension, name) of everything that has a name."""
    found = []
    for number, term in enumerate(record.inputs):
        if "b" in term:
            brought = record.brought(term)
            found += [
                (f"before.x{number}.weight", 0, brought),
                (f"before.x{number}.bias", 0, brought),
            ]
        else:
            found += [(f"own.p{number}", dim, name) for dim, name in enumerate(term)]
    return [*found, ("behind", 0, record.read)]


def kept_by_name(record: Record, kept: Mapping[str, Any]) -> dict[str, list[int]]:
    """Kept positions of each name; asserts that all tensors agree, and that maps hold."""
    found: dict[str, list[int]] = {}
    for parameter, dim, name in named(record):
        whole = list(range(record.size[name]))
        positions = kept.get(parameter, {}).get(dim, whole)
        assert found.setdefault(name, positions) == positions, f"{parameter} differs in {name}"
    for name, of in record.maps.items():
        if name in found:
            assert found[name] == of(found), f"{name} keeps {found[name]}, not {of(found)}"
    return found


def recomputed(record: Record, model: Around, kept: dict[str, list[int]]) -> Tensor:
    """The network's result for its example, on slices of real tensors."""
    operands = []
    given = iter(model.example_inputs)
    for number, term in enumerate(record.inputs):
        if "b" in term:
            value = model.before[f"x{number}"](next(given))
            value = value.movedim(-1, term.index(record.brought(term)))
        else:
            value = model.own[f"p{number}"]
        for dim, name in enumerate(term):
            if name in kept and len(kept[name]) < record.size[name]:
                value = value.index_select(dim, torch.tensor(kept[name]))
        operands.append(value)
    sizes: dict[str, Any] = {**record.size, **{n: len(found) for n, found in kept.items()}}
    sizes |= {f"kept_{name}": positions for name, positions in kept.items()}
    matrix = model.behind[kept[record.read]]
    return read_out(record, record.call(*operands, sizes), matrix)


def zeroed(record: Record, model: Around, kept: Mapping[str, Any]) -> Tensor:
    """The full network's result with what is removed before and behind the call at zero."""
    with torch.no_grad():
        for parameter, dims in kept.items():
            tensor = model.get_parameter(parameter)
            for dim, positions in dims.items():
                if not parameter.startswith("own."):
                    gone = sorted(set(range(tensor.shape[dim])) - set(positions))
                    tensor.index_fill_(dim, torch.tensor(gone, dtype=torch.int64), 0)
    return model(*model.example_inputs)
