"""Activations: a channel that is small, or that never changes, tells its consumers little."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from graphprune.criteria.base import Evidence, check_batches, sum_by_channel
from graphprune.criteria.runs import Runs, for_every_channel
from graphprune.criteria.watch import Place, reading_places, watch
from graphprune.graph.graphmodule import frozen
from graphprune.training.devices import move


class _Moments:
    """Sums over the elements of each channel at one place: float64, shape (5, D).

    They are the number of elements, and the sums of ``|a|``, of ``|a|`` squared, and of the real
    and the imaginary part of ``a``.
    """

    def __init__(self, place: Place, device: torch.device) -> None:
        self.group = place.group
        self._place = place
        self.sums = torch.zeros(5, place.size, dtype=torch.float64, device=device)

    def add(self, values: torch.Tensor) -> None:
        """Count the elements of a value in, unless nobody knows where its channels lie."""
        index, size = self._place.at(values.shape), self._place.size
        if index is None:
            return
        parts = [values.real, values.imag] if values.is_complex() else [values]
        sizes, index = values.abs().double(), index.to(values.device)
        ones = torch.ones((), dtype=torch.float64, device=values.device).expand(values.shape)
        kinds = (ones, sizes, sizes.square(), *(part.double() for part in parts))
        found = torch.stack([sum_by_channel(k, index, size) for k in kinds])
        self.sums[: len(kinds)] += found


@dataclass(frozen=True)
class ActivationMean:
    """Mean absolute activation over examples and positions, summed over the places that read it.

    ``sum over places of mean(|a_j|)``. A baseline of Molchanov, Tyree, Karras, Aila & Kautz,
    "Pruning convolutional neural networks for resource efficient inference" (ICLR 2017), section
    2.2 (numbers of its equations were not checked), who average behind ReLU. Behind other
    nonlinearities activations have signs, hence the absolute value. Activations are taken where a
    contraction reads them. They cannot tell what becomes of them there: a channel that every
    consumer ignores is as important as it is large.

    Attributes:
        batches: batches of data to use at most; None for all.
    """

    name: ClassVar[str] = "activation-mean"
    needs_data: ClassVar[bool] = True
    batches: int | None = None

    def __post_init__(self) -> None:
        check_batches(self.batches, self.name)

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float64, shape (D,).

        Raises:
            UsageError: no data.
        """
        runs = Runs(evidence, self.name, self.batches)
        moments = self._measure(evidence, runs)
        runs.runtime.average([one.sums for one in moments])
        found: dict[str, torch.Tensor] = {}
        for one in moments:
            count, sizes, squares, *parts = one.sums.cpu()
            values = self._figure(count, sizes, squares, torch.stack(parts))
            found[one.group] = found.get(one.group, torch.zeros_like(values)) + values
        return for_every_channel(evidence.analysis, found, evidence)

    def _measure(self, evidence: Evidence, runs: Runs) -> Sequence[_Moments]:
        by_node: dict[str, list[_Moments]] = defaultdict(list)
        for place in reading_places(evidence.analysis):
            by_node[place.node].append(_Moments(place, runs.runtime.device))

        def note(value: torch.Tensor, moments: list[_Moments]) -> None:
            for one in moments:
                one.add(value)

        module = frozen(runs.captured.module).eval()
        watch(module, {node: partial(note, moments=found) for node, found in by_node.items()})
        move(module, runs.runtime.device)
        with torch.no_grad():
            for inputs in runs:
                inputs.through(module)
                if evidence.progress is not None:
                    evidence.progress("score", runs.steps, runs.total, {})
        return [one for found in by_node.values() for one in found]

    def _figure(
        self, count: torch.Tensor, sizes: torch.Tensor, squares: torch.Tensor, parts: torch.Tensor
    ) -> torch.Tensor:
        """The score at one place, (D,); 0 for channels that are not there."""
        del squares, parts
        return sizes / count.clamp(min=1)


@dataclass(frozen=True)
class ActivationVariance(ActivationMean):
    """Variance of activations over examples and positions, summed over the places that read it.

    ``sum over places of mean(|a_j|^2) - |mean(a_j)|^2``. The other baseline of Molchanov et al.
    (2017), section 2.2, who take the standard deviation of one layer's activations; variances are
    what can be summed over places. A channel that is constant could be folded into the biases of
    its consumers. Blind as :class:`ActivationMean` is to what consumers make of a channel.
    """

    name: ClassVar[str] = "activation-var"

    def _figure(
        self, count: torch.Tensor, sizes: torch.Tensor, squares: torch.Tensor, parts: torch.Tensor
    ) -> torch.Tensor:
        del sizes
        count = count.clamp(min=1)
        return (squares / count - (parts / count).square().sum(0)).clamp(min=0)
