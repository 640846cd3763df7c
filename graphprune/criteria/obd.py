"""Optimal brain damage: the curvature of the loss along each channel's gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from graphprune.criteria.base import Evidence, check_batches
from graphprune.criteria.gates import gated_runs
from graphprune.criteria.runs import Runs, for_every_channel
from graphprune.criteria.signal import Signal
from graphprune.criteria.sloped import check_found
from graphprune.errors import UsageError
from graphprune.progress import LossLog


@dataclass(frozen=True)
class OptimalBrainDamage:
    """Half the second derivative of the loss by the channel's gate, which stands at 1.

    LeCun, Denker & Solla, "Optimal brain damage" (1990), eq. 5: the saliency ``h_kk u_k^2 / 2`` of
    a parameter u, here of a gate u = 1 on all of a coupled group's places, with the diagonal of the
    Hessian alone (Hassibi & Stork, 1993, would invert all of it). As in section 3 of that paper the
    Hessian is the Gauss-Newton one, ``J^T H J`` with J the Jacobian of the outputs by the gates and
    H the Hessian of the loss by the outputs, which is exact where the outputs are piecewise linear
    in a single gate (ReLU networks).

    The diagonal is estimated without bias by random signs (Hutchinson), from one or two gradients
    a batch for each probe, see :meth:`graphprune.criteria.signal.Signal.curvature`. Each example
    has gates of its own as far as the model lets them be told apart, so that no noise comes from
    products of different examples. Without labels it is half the expected growth of the distance to
    the original's outputs. The absolute value is taken of the mean: with a loss of the user's the
    estimate can fall below zero where there is next to no curvature.

    Attributes:
        probes: random vectors for each batch.
        batches: batches of data to use at most; None for all.
    """

    name: ClassVar[str] = "obd"
    needs_data: ClassVar[bool] = True
    probes: int = 1
    batches: int | None = None

    def __post_init__(self) -> None:
        check_batches(self.batches, self.name)
        if self.probes < 1:
            raise UsageError(f"probes of obd must be at least 1, got {self.probes}")

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float64, shape (D,), in units of the loss.

        Raises:
            UsageError: no data, or a loss without curvature.
            TrainingError: a loss is not finite.
        """
        runs = Runs(evidence, self.name, self.batches)
        signal = Signal.of(evidence, self.name, runs.runtime.rank)
        log = LossLog("score", runs.total, evidence.progress)
        for run in gated_runs(evidence.analysis, runs):
            weight = float(signal.counted(run.target, run.examples).sum())
            for probe in range(self.probes):
                left, right = signal.curvature(run.output, run.target)
                last = probe == self.probes - 1
                one = run.gradients(left, retain=not last or right is not left)
                other = one if right is left else run.gradients(right, retain=not last)
                for group, slope in one.items():
                    product = (slope.double() * other[group].double()).sum(0)
                    runs.add(group, product / 2, weight)
                log.add(projection=right)
        log.flush()
        found = {group: values.abs() for group, values in runs.means().items()}
        return for_every_channel(evidence.analysis, check_found(found, self.name), evidence)
