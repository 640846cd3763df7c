"""What a record of an operator says, and the network that one is put into.

A record names the dimensions of an operator's tensors. The operator is put between layers that
bring channels forth along one of them and read them: along the record's own in the first network,
along each other dimension of its inputs in a further one (:meth:`Record.networks`). op_oracle.py
holds the shrunk networks against what the call does to the kept channels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
        call: the operator, given the tensors and a dict: sizes by name, as ``kept_c`` what is kept
            of a dimension ``c``, and buffers by name.
        free: names of dimensions of which channels must go; of all others none may.
        locked: names of dimensions of which none may go in the network where a layer brings
            channels forth along them; along all others some must.
        cautious: those of the locked ones that could go all the same: their rule is more careful
            than it had to be.
        choices: of how many channels, or sets of them that go together, the planner may choose
            along a dimension that loses some; along all others of as many as it is long.
        oracle: ``kept`` or ``zero``.
        maps: for a name of the output that no input has, its kept positions from those of the
            inputs' names.
        sizes: other than :data:`SIZES`.
        buffers: constants that the module holds; the call gets them with the sizes.
        target: of the plan.
        along: the dimension that layers bring forth in a further network, "" in the first.
    """

    name: str
    axes: str
    call: Callable[..., Tensor]
    free: str = "c"
    locked: str = ""
    cautious: str = ""
    choices: Mapping[str, int] = field(default_factory=dict)
    oracle: str = "kept"
    maps: Mapping[str, Callable[[dict[str, list[int]]], list[int]]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    target: str = "channels=0.5"
    along: str = ""

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
        wanted = [self.along] if self.along in self.output else []
        if self.along and not wanted:
            wanted = [name for name in self.output if name in self.maps] or self._in_its_place
        found = [name for name in self.output if name in (*self.free.split(), "c")]
        found += [name for name in self.output if name in self.maps]
        return [*wanted, *found, self.output[-1]][0]

    @property
    def _in_its_place(self) -> list[str]:
        """What an output of the same rank has where the first input has ``along``."""
        (term, *_) = (term for term in self.inputs if self.along in term)
        there = self.output[term.index(self.along)] if len(term) == len(self.output) else ""
        met = {"", *(name for each in self.inputs for name in each)}
        return [] if there in met else [there]

    @property
    def dense(self) -> dict[str, Any]:
        """What the call is told of a network that has lost nothing."""
        return {**self.size, **{f"kept_{name}": list(range(n)) for name, n in self.size.items()}}

    def brought(self, term: Term) -> str:
        """The dimension of an input that a layer brings forth."""
        if self.along in term:
            return self.along
        found = [name for name in term if name in ("c", "d", "o")]
        return found[0] if found else term[-1]

    @property
    def networks(self) -> list[Record]:
        """The record itself, and one with channels along each other dimension of its inputs."""
        computed = [term for term in self.inputs if "b" in term]
        others = [name for term in computed for name in term if name != self.brought(term)]
        further = [name for name in dict.fromkeys(others) if name != "b" and self.size[name] > 1]
        return [self, *(replace(self, name=f"{self.name}, {n}", along=n) for n in further)]


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
        for name, value in record.buffers.items():
            self.register_buffer(name, value)
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
        told = {**self.record.dense, **dict(self.named_buffers())}
        return read_out(self.record, self.record.call(*operands, told), self.behind)


def read_out(record: Record, value: Tensor, matrix: Tensor) -> Tensor:
    """The layer behind: a product over the dimension that it reads."""
    return value.movedim(record.output.index(record.read), -1) @ matrix
