"""How far a model's answers are from the original's over all data, however these are batched."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from graphprune.errors import DataError
from graphprune.io.loss import CONSTANT, paired

_PIECE = 2**22
"""Values that are summed at a time: in double precision they take room beside the outputs."""


class Distance:
    """Squared distance over the variance of the original's answers, summed over batches.

    It is what :func:`graphprune.io.loss.reproduce` measures of a batch, but the variance is that
    over all data. A batch of one example has none, and that of a small batch says little.
    """

    def __init__(self) -> None:
        self._tensors: list[_Sums] = []

    @property
    def empty(self) -> bool:
        """Whether no batch was taken in."""
        return not self._tensors

    def add(self, output: object, teacher_output: object) -> None:
        """Take in a batch.

        Raises:
            DataError: the outputs do not match, or there are not as many as in other batches.
        """
        pairs = paired(output, teacher_output)
        if not self._tensors:
            self._tensors = [_Sums() for _ in pairs]
        if len(pairs) != len(self._tensors):
            raise DataError(
                f"the model returned {len(pairs)} floating tensors for one batch and "
                f"{len(self._tensors)} for another, so its answers cannot be compared; give a loss"
            )
        for sums, (ours, theirs) in zip(self._tensors, pairs, strict=True):
            for mine, wanted in zip(_pieces(ours), _pieces(theirs), strict=True):
                sums.add(mine, wanted)

    def value(self) -> float:
        """The mean over all floating tensors of the outputs; of some batch at least."""
        return sum(sums.value() for sums in self._tensors) / len(self._tensors)


def _pieces(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    pieces: tuple[torch.Tensor, ...] = tensor.detach().flatten().split(_PIECE)
    return pieces


@dataclass
class _Sums:
    """Of one tensor of the outputs: count, mean and squared deviations of the original's values.

    Deviations are merged by the means of the parts (Chan, Golub and LeVeque 1979), for the
    difference of large sums of squares would be rounding alone where the mean is large.
    """

    count: int = 0
    mean: float = 0.0
    deviations: float = 0.0
    squares: float = 0.0
    errors: float = 0.0

    def add(self, ours: torch.Tensor, theirs: torch.Tensor) -> None:
        known = torch.isfinite(theirs)
        wanted = theirs[known].double()
        count = wanted.numel()
        if not count:
            return
        mean = wanted.mean()
        parts = (
            mean,
            (wanted - mean).square().sum(),
            wanted.square().sum(),
            (ours[known].double() - wanted).square().sum(),
        )
        values: list[float] = torch.stack(parts).tolist()
        apart, total = values[0] - self.mean, self.count + count
        self.deviations += values[1] + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total
        self.squares += values[2]
        self.errors += values[3]

    def value(self) -> float:
        """Squared distance over variance; over the mean square where the tensor is constant."""
        varies = self.deviations > CONSTANT * self.squares
        scale = self.deviations if varies else self.squares
        return self.errors / (scale or max(self.count, 1))
