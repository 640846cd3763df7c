"""Rules that users give for operators of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from graphprune.errors import GraphpruneError, UsageError
from graphprune.graph.operators import overloads_of
from graphprune.graph.replay import replay_movement
from graphprune.graph.schema import get_argument
from graphprune.graph.values import concrete, is_tensor, shape_of, source_line
from graphprune.io.text import reason
from graphprune.labels.slots import Labels, Shape
from graphprune.rules.adapters import Masked, Rewrite, adapt_masked, adapt_rewrite
from graphprune.rules.axes import Axes, tensor_arguments
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, register


@dataclass(frozen=True)
class OpCall:
    """One call of an operator, as its rule sees it.

    Attributes:
        context: the engine's primitives, for what the methods here do not cover.
        node: the call in the graph.
    """

    context: Context
    node: fx.Node

    def argument(self, name: str) -> Any:
        """An argument by its name in the schema: a graph node for a tensor, else a plain value.

        Raises:
            KeyError: the operator has no such argument.
        """
        return concrete(get_argument(self.node, name))

    def shape(self, name: str) -> Shape:
        """Shape of a tensor argument, a free batch at its size in the example inputs."""
        return shape_of(self.argument(name))

    def labels(self, name: str) -> Labels:
        """Labels of a tensor argument; none if it is left out."""
        return self.context.of(self.argument(name))

    def axes(self, text: str) -> NodeLabels:
        """Labels of the outputs by named dimensions; see :mod:`graphprune.rules.axes`."""
        target = self.node.target
        assert isinstance(target, torch._ops.OpOverload)
        given = [self.argument(name) for name in tensor_arguments(target)]
        nodes = [n if isinstance(n, fx.Node) else None for n in given]
        return Axes.parse(text, target).label(self.context, self.node, nodes)

    def pointwise(self) -> NodeLabels:
        """Every output is an element-wise function of all tensors, which broadcast."""
        labels = self.context.pointwise(self.node.all_input_nodes, f"element-wise {self.node.name}")
        value = self.node.meta["val"]
        return labels if is_tensor(self.node) else [labels for _ in value]

    def move(self, name: str) -> NodeLabels:
        """The operator only moves elements of this argument about; it is run on the labels.

        It must take int64 tensors.

        Raises:
            UsageError: its results are not elements of the argument.
        """
        source = self.argument(name)
        _require_movement(self.node, source)
        return self.context.move(self.node, source)

    def lock(self, name: str, *dims: int) -> Labels:
        """Labels of an argument of which these dimensions must keep every element."""
        rank = len(self.shape(name))
        return self.context.lock(
            self.labels(name), [dim % rank for dim in dims], f"{self.node.name} needs all elements"
        )

    def pin(self, why: str) -> NodeLabels:
        """Leave alone whatever reaches this call."""
        for node in self.node.all_input_nodes:
            self.context.pin(self.context.of(node), why)
        return () if is_tensor(self.node) else [() for _ in self.node.meta["val"]]


Labeller = Callable[[OpCall], NodeLabels]


def op_rule(
    *operators: Any, masked: Masked | None = None, rewrite: Rewrite | None = None
) -> Callable[[Labeller], Labeller]:
    """Decorator: the function says how channels pass through a call of these operators.

    ::

        @graphprune.op_rule(torch.ops.mylib.scale_channels.default)
        def scale_channels(call):
            return call.axes("b c t, c -> b c t")

    The function returns labels of the output, or a list of them for several outputs; where it does
    not apply it raises NotImplementedError, and what reaches the call stays.

    Args:
        operators: overloads, whole packets, or what ``torch.library.custom_op`` returns.
        masked: for an operator whose values depend on how many elements there are; see
            :data:`graphprune.rules.adapters.Masked`.
        rewrite: for an operator with sizes among its arguments; see
            :data:`graphprune.rules.adapters.Rewrite`.

    Raises:
        UsageError: one of them is no operator, or has a rule already.
    """
    targets = [target for operator in operators for target in overloads_of(operator)]

    def decorate(function: Labeller) -> Labeller:
        rule = Rule(
            _labeller(function),
            rewrite=None if rewrite is None else adapt_rewrite(rewrite),
            masked=None if masked is None else adapt_masked(masked),
        )
        register(rule, *targets)
        return function

    return decorate


def pointwise_rule(*operators: Any) -> None:
    """Element-wise operators, in one line.

    Raises:
        UsageError: one of them is no operator, or has a rule already.
    """
    op_rule(*operators)(OpCall.pointwise)


def movement_rule(operator: Any, argument: str, *, rewrite: Rewrite | None = None) -> None:
    """An operator that only moves elements of one tensor argument about, in one line.

    Raises:
        UsageError: it is no operator, or has a rule already.
    """
    op_rule(operator, rewrite=rewrite)(lambda call: call.move(argument))


def axes_rule(
    operator: Any, text: str, *, masked: Masked | None = None, rewrite: Rewrite | None = None
) -> None:
    """An operator described by named dimensions, in one line: ``"b c t, o c -> b o t"``.

    See :mod:`graphprune.rules.axes` for the text, :func:`op_rule` for the rest.

    Raises:
        UsageError: it is no operator or has a rule already, or the text does not fit it.
    """
    for target in overloads_of(operator):
        Axes.parse(text, target)  # a mistake shows here, not in the middle of an analysis
    op_rule(operator, masked=masked, rewrite=rewrite)(lambda call: call.axes(text))


def _labeller(function: Labeller) -> Callable[[Context, fx.Node], NodeLabels]:
    def label(context: Context, node: fx.Node) -> NodeLabels:
        try:
            found = function(OpCall(context, node))
        except (NotImplementedError, GraphpruneError):
            raise
        except Exception as error:  # a user's function may raise anything
            raise UsageError(f"{_where(node)} raised {reason(error)}; mend the rule") from error
        _check(context, node, found)
        return found

    return label


def _where(node: fx.Node) -> str:
    line = source_line(node)
    return f"the rule for {node.target} at node {node.name}" + (f" ({line})" if line else "")


def _check(context: Context, node: fx.Node, found: Any) -> None:
    """Refuse what would only fail later and elsewhere."""
    value = node.meta["val"]
    values = [value] if is_tensor(node) else list(value)
    outputs = [found] if is_tensor(node) else found
    if not isinstance(outputs, list) or len(outputs) != len(values):
        raise UsageError(f"{_where(node)} must return labels for {len(values)} outputs")
    for labels, output in zip(outputs, values, strict=True):
        if not isinstance(labels, tuple):
            raise UsageError(f"{_where(node)} returned a {type(labels).__name__}, not labels")
        for slot in labels:
            fits = isinstance(slot, torch.Tensor) and slot.ndim == output.ndim
            fits = fits and all(
                a in (1, concrete(b)) for a, b in zip(slot.shape, output.shape, strict=True)
            )
            if not fits or not -1 <= int(slot.min()) <= int(slot.max()) < context.store.count:
                raise UsageError(f"{_where(node)} returned labels that do not fit its output")


def _require_movement(node: fx.Node, source: fx.Node) -> None:
    """Whatever the elements are called, the same ones must come out at the same places."""
    shape = shape_of(source)
    marks = torch.arange(torch.Size(shape).numel())
    # Far apart and beyond the whole numbers of float32, so that no arithmetic passes for movement.
    names = 2**40 + marks * 7919
    places = replay_movement(node, source, marks.reshape(shape))
    moved = replay_movement(node, source, names.reshape(shape))
    for place, name in zip(places, moved, strict=True):
        inside = not place.is_floating_point() and bool(((place >= 0) & (place < len(marks))).all())
        if not inside or not torch.equal(names[place], name):
            raise UsageError(f"{_where(node)} calls it movement, but it does more than move")
