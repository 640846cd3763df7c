"""Fisher pruning: what the loss gains, to second order, when a channel's gate closes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from graphprune.criteria.base import Evidence, check_batches
from graphprune.criteria.gates import gated_runs
from graphprune.criteria.runs import Runs, for_every_channel
from graphprune.criteria.signal import Signal
from graphprune.criteria.sloped import check_found
from graphprune.progress import LossLog


@dataclass(frozen=True)
class Fisher:
    """``1/2N`` times the sum over the N examples of the squared gradient by the channel's gate.

    Theis, Korshunova, Tejani & Huszár, "Faster gaze prediction with dense networks and Fisher
    pruning" (2018), eq. 10 and 11: the gradient by a gate at 1 is the sum of activation times
    gradient over all positions, here over all places where the coupled group comes forth. Their
    division by a channel's cost is left to the budget. The loss of an example is the mean over its
    labels that count, so that the score does not depend on how examples are batched.

    Where the values of a group do not begin with the batch (windows, position tables), its examples
    cannot be told apart, and the squared gradient of the whole batch stands in, which expects the
    same as far as the gradients of examples are independent and of mean zero. There alone the
    score depends on the batch, and so does the noise of the projections that stand in for labels.

    Attributes:
        batches: batches of data to use at most; None for all.
    """

    name: ClassVar[str] = "fisher"
    needs_data: ClassVar[bool] = True
    batches: int | None = None

    def __post_init__(self) -> None:
        check_batches(self.batches, self.name)

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float64, shape (D,), in units of the loss.

        Raises:
            UsageError: no data, or a loss that no channel changes.
            TrainingError: a loss is not finite.
        """
        runs = Runs(evidence, self.name, self.batches)
        signal = Signal.of(evidence, self.name, runs.runtime.rank)
        log = LossLog("score", runs.total, evidence.progress)
        for run in gated_runs(evidence.analysis, runs):
            loss = signal.first(run.output, run.target)
            counted = signal.counted(run.target, run.examples)
            examples = int((counted > 0).sum())
            for group, slope in run.gradients(loss).items():
                slopes = slope.double()
                if signal.is_mean(run.target):
                    own = _own(counted.to(slope.device), len(slopes))
                    slopes = slopes * own / max(examples, 1) ** 0.5
                runs.add(group, 0.5 * slopes.square().sum(0), examples)
            log.add(loss=loss)
        log.flush()
        found = check_found(runs.means(), self.name)
        return for_every_channel(evidence.analysis, found, evidence)


def _own(counted: torch.Tensor, rows: int) -> torch.Tensor:
    """What makes a share in a batch's mean the gradient of an example's own loss, (``rows``, 1).

    Where all share one row, the batch stands for its examples.
    """
    if rows != len(counted):
        return (counted > 0).sum().double().reshape(1, 1)
    factors = counted.sum() / counted.clamp(min=1)
    return factors.unsqueeze(1)
