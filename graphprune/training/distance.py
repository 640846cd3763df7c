"""How far a model's answers are from the original's over all data, however these are batched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.graph.graphmodule import frozen
from graphprune.io.loss import CONSTANT, paired, require_as_many
from graphprune.training.devices import Batch, move
from graphprune.training.feed import call_arguments, count_examples

_PIECE = 2**22
"""Values that are summed at a time: in double precision they take room beside the outputs."""

SURVEYED = 256
"""Examples that say how much the original's answers vary."""


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
        require_as_many(pairs, self._tensors)
        for sums, (ours, theirs) in zip(self._tensors, pairs, strict=True):
            for mine, wanted in zip(_pieces(ours), _pieces(theirs), strict=True):
                sums.add(mine, wanted)

    @property
    def scales(self) -> tuple[float, ...]:
        """What the squared distance of each floating tensor is divided by."""
        return tuple(sums.scale() for sums in self._tensors)

    def value(self) -> float:
        """The mean over all floating tensors of the outputs; of some batch at least."""
        return sum(sums.value() for sums in self._tensors) / len(self._tensors)


def scales_of(captured: Captured, data: Iterable[Batch], device: torch.device) -> tuple[float, ...]:
    """What squared distances of a batch are divided by to learn from: of each floating tensor of a
    model's outputs the variance over the first batches together, so that all weigh the same.

    By its own variance a batch of few numbers would weigh by chance: one number has none, and one
    near zero would count more than all others.

    Args:
        captured: the original; it stays as it is.
        data: batches ``(inputs, target)``, of which :data:`SURVEYED` examples are read.
        device: where it runs.
    """
    original = frozen(captured.module).eval()
    move(original, device)
    found, examples = Distance(), 0
    with torch.random.fork_rng(), torch.no_grad():  # a loader draws a seed whenever it is read
        for inputs, _ in data:
            given = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), inputs)
            args, kwargs = call_arguments(captured, given)
            answer = original(*args, **kwargs)
            found.add(answer, answer)
            examples += count_examples(captured, (args, kwargs))
            if examples >= SURVEYED:
                break
    return found.scales


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

    def scale(self) -> float:
        """The variance; the mean square where the tensor is constant, and 1 where it is zero."""
        varies = self.deviations > CONSTANT * self.squares
        scale = self.deviations if varies else self.squares
        return scale / self.count if scale else 1.0

    def value(self) -> float:
        return self.errors / max(self.count, 1) / self.scale()
