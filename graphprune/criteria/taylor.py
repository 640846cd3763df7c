"""Taylor expansion: what the loss changes, to first order, when a channel's weights vanish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from graphprune.criteria.base import (
    Evidence,
    check_batches,
    parameters_by_channel,
    sum_by_channel,
)
from graphprune.criteria.runs import Runs, for_every_channel
from graphprune.criteria.signal import Signal
from graphprune.criteria.sloped import check_found, gradients
from graphprune.graph.graphmodule import frozen
from graphprune.graph.values import get_tensor
from graphprune.progress import LossLog
from graphprune.training.devices import move


@dataclass(frozen=True)
class Taylor:
    """Squared sum of gradient times weight over all of a channel's weights, mean over batches.

    Molchanov, Mallya, Tyree, Frosio & Kautz, "Importance estimation for neural network pruning"
    (CVPR 2019), eq. 8: ``(sum over s in S of g_s w_s)^2``, where the structural set S is here the
    whole coupled group's slices of a channel: of the tensors that make it, normalise it and read
    it. The gradient is that of a batch's mean loss, and the squares are averaged over batches, as
    their algorithm does; the 2017 paper (Molchanov et al., "Pruning convolutional neural networks
    for resource efficient inference") took absolute values of activation times gradient instead.
    Weights that lie on both sides of a channel (the diagonal of a square matrix) count twice.

    Attributes:
        batches: batches of data to use at most; None for all.
    """

    name: ClassVar[str] = "taylor"
    needs_data: ClassVar[bool] = True
    batches: int | None = None

    def __post_init__(self) -> None:
        check_batches(self.batches, self.name)

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float64, shape (D,), in squared units of the loss.

        Raises:
            UsageError: no data, or a loss that no channel changes.
            TrainingError: a loss is not finite.
        """
        runs = Runs(evidence, self.name, self.batches)
        signal = Signal.of(evidence, self.name, runs.runtime.rank)
        log = LossLog("score", runs.total, evidence.progress)
        analysis = evidence.analysis
        places = [
            (
                group,
                [
                    (n, at)
                    for n, values, at in parameters_by_channel(analysis, group)
                    if values.is_floating_point() or values.is_complex()
                ],
            )
            for group in analysis.groups
        ]
        module = frozen(runs.captured.module).eval()
        move(module, runs.runtime.device)
        names = list(dict.fromkeys(name for _, found in places for name, _ in found))
        weights = {name: get_tensor(module, name).requires_grad_() for name in names}
        for inputs in runs:
            loss = signal.first(inputs.through(module), inputs.target)
            slopes = gradients(loss, list(weights.values()))
            # Of complex numbers the real part is what the loss changes as they shrink.
            products = {
                name: (slope.conj() * weights[name].detach()).real
                for name, slope in zip(weights, slopes, strict=True)
            }
            # A batch in which no label counts has no say in the mean over batches.
            says = float(signal.counted(inputs.target, inputs.examples).any())
            for group, found in places:
                parts = [sum_by_channel(products[name], at, group.size) for name, at in found]
                if parts:
                    runs.add(group.name, torch.stack(parts).sum(0).square(), says)
            log.add(loss=loss)
        log.flush()
        scores = check_found(runs.means(), self.name)
        return for_every_channel(analysis, scores, evidence)
