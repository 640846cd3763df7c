"""Rules written as named dimensions: ``"b c t, c -> b c t"``.

One name for one dimension, separated by blanks; a comma between tensors; inputs left of the arrow,
outputs right of it. Dimensions of one name go together, one that an output lacks is summed over in
it, ``c!`` may not be shortened, ``1`` is a dimension of size 1 and ``...`` any further dimensions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import fx

from graphprune.errors import UsageError
from graphprune.graph.origin import leads_to_parameter
from graphprune.graph.values import is_tensor, shape_of
from graphprune.labels.slots import Labels, Shape, Slot, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels

_NAME = re.compile(r"[A-Za-z_]\w*!?|1|\.\.\.")
_REST = "..."

Term = tuple[str, ...]


@dataclass(frozen=True)
class Axes:
    """A parsed text.

    Attributes:
        inputs: names of the dimensions of each tensor argument.
        outputs: the same of each output.
        locked: names of dimensions that may not be shortened.
    """

    inputs: tuple[Term, ...]
    outputs: tuple[Term, ...]
    locked: frozenset[str]

    @classmethod
    def parse(cls, text: str, target: torch._ops.OpOverload) -> Axes:
        """Read the text and hold it against the operator's schema.

        Raises:
            UsageError: the text is malformed, or the operator has another number of tensors.
        """
        sides = text.split("->")
        if len(sides) != 2:
            raise UsageError(f"axes {text!r} of {target}: write inputs -> outputs")
        given = [[_names(term, text, target) for term in side.split(",")] for side in sides]
        locked = {n[:-1] for side in given for term in side for n in term if n.endswith("!")}
        inputs, outputs = (
            tuple(tuple(name.rstrip("!") for name in term) for term in side) for side in given
        )
        known = {name for term in inputs for name in term} | {"1"}
        for name in [name for term in outputs for name in term]:
            if name not in known:
                raise UsageError(f"axes {text!r} of {target}: no input has {name!r}")
        if any(_REST in term for term in inputs) and any(_REST not in term for term in outputs):
            raise UsageError(f"axes {text!r} of {target}: every output needs the '...' too")
        wanted = (len(tensor_arguments(target)), len(target._schema.returns))
        if wanted != (len(inputs), len(outputs)):
            raise UsageError(
                f"axes {text!r} of {target}: it has {wanted[0]} tensor arguments and "
                f"{wanted[1]} outputs, the text has {len(inputs)} and {len(outputs)}"
            )
        return cls(inputs, outputs, frozenset(locked))

    def label(self, context: Context, node: fx.Node, arguments: list[fx.Node | None]) -> NodeLabels:
        """Labels of the outputs of a call; ``arguments`` are its tensors, None where left out."""
        given = [(term, n) for term, n in zip(self.inputs, arguments, strict=True) if n is not None]
        rest = max((len(shape_of(n)) - len(t) + 1 for t, n in given if _REST in t), default=0)
        outputs = [_spell_out(term, rest, rest) for term in self.outputs]
        terms = [(_spell_out(t, len(shape_of(n)) - len(t) + 1, rest), n) for t, n in given]
        everything = [*outputs, *(term for term, _ in terms)]
        names = [n for n in dict.fromkeys(n for term in everything for n in term) if n != "1"]
        operands = [_lay(context.of(n), shape_of(n), term, names) for term, n in terms]
        summed = [n for n, name in enumerate(names) if any(name not in term for term in outputs)]
        reason = f"{node.target} {node.name}"
        if summed and len(operands) > 1:
            joint = context.multiply(operands, reason, summed)
        else:
            joint = context.join(operands, reason)
        stuck = [names.index(name) for name in names if name in self.locked]
        joint = context.lock(joint, stuck, f"{node.name} needs the whole dimension")
        joint = tuple(slot for slot in joint if not set(varying(slot)) & set(stuck))
        labels = []
        for term in outputs:
            gone = [number for number, name in enumerate(names) if name not in term]
            labels.append(_read(context.reduce(joint, gone, keepdim=True), term, names))
        brought = _brought_forth(terms)
        for term, found in zip(outputs, labels, strict=True):
            dims = {dim for dim, name in enumerate(term) if name in brought}
            context.producers += [(node, slot) for slot in found if dims & set(varying(slot))]
        return labels[0] if is_tensor(node) else list(labels)


def tensor_arguments(target: torch._ops.OpOverload) -> list[str]:
    """Names of an operator's arguments that are a tensor, or may be one."""
    return [
        argument.name
        for argument in target._schema.arguments
        if str(argument.type) in ("Tensor", "Optional[Tensor]")
    ]


def _names(term: str, text: str, target: torch._ops.OpOverload) -> Term:
    names = tuple(term.split())
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"axes {text!r} of {target}: {name!r} is no name of a dimension; "
                "write names between blanks, 'c!', '1' or '...'"
            )
    if len({n.rstrip("!") for n in names if n != "1"}) < len([n for n in names if n != "1"]):
        raise UsageError(f"axes {text!r} of {target}: a name stands twice in {term.strip()!r}")
    return names


def _spell_out(term: Term, own: int, rest: int) -> Term:
    """Give the dimensions behind ``...`` names, counted from the right as broadcasting does."""
    if _REST not in term:
        return term
    place = term.index(_REST)
    filled = tuple(f"...{number}" for number in range(rest - own, rest))
    return (*term[:place], *filled, *term[place + 1 :])


def _lay(labels: Labels, shape: Shape, term: Term, names: list[str]) -> tuple[Labels, Shape]:
    """Labels and shape of one input in the joint index space of all names."""
    if len(term) != len(shape):
        raise NotImplementedError(f"{' '.join(term)} describes {len(term)} dimensions of {shape}")
    if any(name == "1" and size != 1 for name, size in zip(term, shape, strict=True)):
        raise NotImplementedError(f"a '1' of {' '.join(term)} is not 1 in {shape}")
    order = [term.index(name) for name in names if name in term]

    def place(sizes: Shape) -> list[int]:
        taken = dict(zip(term, sizes, strict=True))
        return [taken.get(name, 1) for name in names]

    ones = [dim for dim, name in enumerate(term) if name == "1"]
    laid = tuple(slot.permute(*order, *ones).reshape(place(tuple(slot.shape))) for slot in labels)
    return laid, tuple(place(shape))


def _read(joint: Labels, term: Term, names: list[str]) -> Labels:
    """Labels of one output, from those of the joint index space."""
    order = [names.index(name) for name in term if name != "1"]
    left = [number for number in range(len(names)) if number not in order]

    def read(slot: Slot) -> Slot:
        moved = slot.permute(*order, *left)
        sizes = iter(moved.shape)
        return moved.reshape([1 if name == "1" else next(sizes) for name in term])

    return tuple(read(slot) for slot in joint)


def _brought_forth(terms: list[tuple[Term, fx.Node]]) -> set[str]:
    """Names that parameters alone have: their channels begin here."""
    own = {name for term, node in terms if leads_to_parameter(node) for name in term}
    others = [term for term, node in terms if not leads_to_parameter(node)]
    return own - {name for term in others for name in term} if others else set()
