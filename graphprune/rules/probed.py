"""Labels through an operator that nobody wrote a rule for, as the deletion probe finds them."""

from __future__ import annotations

from torch import fx

from graphprune.graph.origin import leads_to_parameter
from graphprune.graph.values import is_tensor, shape_of
from graphprune.labels.slots import Labels, Slot, along, clean, varying
from graphprune.rules.context import Context
from graphprune.rules.probe import Axis, Findings, Place, probe
from graphprune.rules.rule import NodeLabels
from graphprune.rules.trial import signature_of, tensor_nodes


def label_probed(context: Context, node: fx.Node) -> NodeLabels | str:
    """Labels of a call's outputs, where some channels may go; else the reason why none may.

    What varies along several dimensions of an argument is made to lose the same positions
    everywhere, which is what the probe has tried.
    """
    arguments = tensor_nodes(node)
    wanted = sorted(
        {(i, d) for i, n in enumerate(arguments) for slot in context.of(n) for d in varying(slot)}
    )
    values = 1 if is_tensor(node) else len(node.meta["val"])
    outputs: list[list[Slot]] = [[] for _ in range(values)]
    if wanted:
        signature = signature_of(node)
        if isinstance(signature, str):
            return signature
        findings = probe(signature, tuple(wanted))
        if not findings.axes:
            return _explain(arguments, findings.why, wanted)
        reason = f"{node.target}"
        lines = _lines(context, arguments, findings, reason)
        for axis in findings.axes:
            for slot in _join(context, arguments, axis, lines, reason):
                for number, dim in axis.carried:
                    rank = len(signature.outputs[number].shape)
                    outputs[number].append(along(slot.reshape(-1), dim, rank))
                    if _brought_forth(arguments, axis):
                        context.producers.append((node, outputs[number][-1]))
    labels = [clean(found) for found in outputs]
    return labels[0] if is_tensor(node) else list(labels)


def _explain(arguments: list[fx.Node], why: dict[Place, str], places: list[Place]) -> str:
    """Why these dimensions stay."""
    number, dim = places[0]
    return f"with dimension {dim} of {arguments[number].name} shortened, {why[places[0]]}"


def _lines(
    context: Context, arguments: list[fx.Node], findings: Findings, reason: str
) -> dict[Place, list[Slot]]:
    """Labels along each dimension that may be shortened, 1-D; all others are pinned or locked."""
    free = {member for axis in findings.axes for member in axis.members}
    lines: dict[Place, list[Slot]] = {place: [] for place in free}
    for number, argument in enumerate(arguments):
        for slot in context.of(argument):
            if not varying(slot):
                continue  # all of the value is one channel: the last one of something, which stays
            dims = [dim for dim in varying(slot) if (number, dim) in free]
            if not dims:
                bound = [(number, dim) for dim in varying(slot)]
                context.pin(
                    [slot], f"no rule for {reason}: {_explain(arguments, findings.why, bound)}"
                )
                continue
            others = [dim for dim in varying(slot) if dim != dims[-1]]
            for line in context.lock((slot,), others, reason):
                lines[number, dims[-1]].append(line.reshape(-1))
    return lines


def _join(
    context: Context,
    arguments: list[fx.Node],
    axis: Axis,
    lines: dict[Place, list[Slot]],
    reason: str,
) -> Labels:
    operands = []
    for number, dim in axis.members:
        size = shape_of(arguments[number])[dim]
        operands.append((clean(lines[number, dim]), (size,)))
    return context.join(operands, reason)


def _brought_forth(arguments: list[fx.Node], axis: Axis) -> bool:
    """Whether the channels are those of parameters alone: they begin at this call."""
    own = [leads_to_parameter(arguments[number]) for number, _ in axis.members]
    return all(own) and not all(leads_to_parameter(n) for n in arguments)
