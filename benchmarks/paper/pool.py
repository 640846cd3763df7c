"""Errors of many sub-architectures of one model at once, without cutting any of them.

A masked run holds removed channels at zero. Up to the first layer that differs, two runs do the
same, so every value is kept until its inputs or its mask change: a pool in which the first layers
vary slowest costs a fraction of as many models. With calibration images, which go through as part
of each batch, batch norms take their statistics, as after a re-estimation on these images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import fx

from benchmarks.paper.cutting import Ranked, plan_at_widths
from graphprune.analysis.groups import Analysis
from graphprune.graph.values import is_tensor
from graphprune.proof.masked import MaskedReference
from graphprune.rules.table import find_rule
from graphprune.shrinking.keep import Keep

Widths = tuple[int, ...]


class Remembered:
    """The last value of each node, with what it was made from."""

    def __init__(self) -> None:
        self._values: dict[tuple[fx.Node, str], tuple[int, Any]] = {}

    def clear(self) -> None:
        """Forget all, as for the next batch."""
        self._values.clear()

    def get(self, node: fx.Node, stage: str, key: int) -> tuple[bool, Any]:
        """Whether the value of a stage of a node is there, and it."""
        found = self._values.get((node, stage))
        return (True, found[1]) if found is not None and found[0] == key else (False, None)

    def put(self, node: fx.Node, stage: str, key: int, value: Any) -> None:
        """Keep a value in place of the last one."""
        self._values[node, stage] = (key, value)


class RememberingReference(MaskedReference):
    """A masked run that takes what it can from the one before.

    Parameters are read whole: what they bring forth for a removed channel is held at zero anyway,
    and what they read of one is zero, so the outputs are those of :class:`MaskedReference`.
    """

    def __init__(
        self, analysis: Analysis, keep: Keep, remembered: Remembered, calibration: int = 0
    ) -> None:
        super().__init__(analysis, keep)
        self._remembered = remembered
        self._calibration = calibration
        self._keys: dict[fx.Node, int] = {}

    def run_node(self, node: fx.Node) -> Any:
        """The node's value under the masks, computed only where it has changed."""
        if node.op != "call_function" or not is_tensor(node):
            return fx.Interpreter.run_node(self, node)
        rule = find_rule(node.target)
        by_rule = rule is not None and rule.masked is not None and not self._recalibrates(node)
        inputs = hash(tuple(self._key(one) for one in node.all_input_nodes))
        key = self._key(node)
        there, value = self._remembered.get(node, "masked", key)
        if there:
            return value
        if by_rule:
            assert rule is not None
            assert rule.masked is not None
            value = rule.masked(self.values, node, *self.fetch_args_kwargs_from_env(node))
        else:
            there, value = self._remembered.get(node, "whole", inputs)
            if not there:
                value = self._whole(node)
                self._remembered.put(node, "whole", inputs, value)
        if self.values.removes(node):
            value = value * self.values.keep(node)
        self._remembered.put(node, "masked", key, value)
        return value

    def _whole(self, node: fx.Node) -> Any:
        """The operator's own value; one that writes into its input is given a copy."""
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if self._recalibrates(node):
            return self._normalised(*args)
        if node.target._schema.is_mutable:  # type: ignore[union-attr]
            args = tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in args)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _recalibrates(self, node: fx.Node) -> bool:
        return self._calibration > 0 and node.target is torch.ops.aten.batch_norm.default

    def _normalised(self, value: torch.Tensor, weight: Any, bias: Any, *rest: Any) -> torch.Tensor:
        """Batch norm by statistics of the calibration images, the first of the batch.

        These are normalised as in training, by their biased variance; the others as in evaluation
        after a re-estimation, by the unbiased one.
        """
        first, others = value[: self._calibration], value[self._calibration :]
        dims = [dim for dim in range(value.ndim) if dim != 1]
        variance, mean = torch.var_mean(first, dims)
        eps = rest[4]
        normalise = torch.nn.functional.batch_norm
        return torch.cat(
            [
                normalise(first, None, None, weight, bias, training=True, eps=eps),
                normalise(others, mean, variance, weight, bias, eps=eps),
            ]
        )

    def _key(self, node: fx.Node) -> int:
        """What the node's value depends on: its own mask and those of all before it."""
        if node not in self._keys:
            before = tuple(self._key(one) for one in node.all_input_nodes)
            mask = b""
            if node.op == "call_function" and is_tensor(node):
                mask = self.values.keep(node).numpy().tobytes()
            self._keys[node] = hash((node.name, mask, before))
        return self._keys[node]


def errors(
    ranked: Ranked,
    pool: Sequence[Widths],
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    calibration: torch.Tensor | None = None,
) -> list[float]:
    """Test error in per cent of each sub-architecture, its channels chosen by the ranking.

    Args:
        ranked: the dense model and the importance of its channels.
        pool: channels of each group; neighbours should differ in the last groups only.
        batches: images and labels, all batches of one size.
        calibration: images that batch norms are re-estimated on; None leaves them as they are.
    """
    remembered = Remembered()
    count = 0 if calibration is None else len(calibration)
    models = [
        RememberingReference(
            ranked.analysis,
            plan_at_widths(ranked, widths).keep(ranked.analysis),
            remembered,
            count,
        )
        for widths in pool
    ]
    wrong = [0] * len(models)
    total = 0
    for images, labels in batches:
        remembered.clear()
        total += len(labels)
        given = images if calibration is None else torch.cat([calibration, images])
        for number, model in enumerate(models):
            wrong[number] += int((model(given)[count:].argmax(1) != labels).sum())
    return [100 * count / total for count in wrong]
