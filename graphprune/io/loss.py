"""Losses: the user's, cross-entropy for labels, and reproducing the original's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from graphprune.errors import DataError, UsageError
from graphprune.io.imports import import_callable
from graphprune.io.tensors import describe, first_floating, floating_outputs

Loss = Callable[[object, object], torch.Tensor]
IGNORED_LABEL = -100
CONSTANT = 1e-10  # of its mean square; rounding leaves a constant tensor a variance of about 1e-14
_SUM_TOLERANCE = 1e-2  # of probabilities; half precision and smoothing by hand round
_OTHER_LOSSES = (
    "give a loss, such as --loss torch.nn.functional:mse_loss with targets shaped like the output"
)


def load_loss(spec: str) -> Loss:
    """Import ``package.module:fn``, a function of (model output, target), as a checked loss.

    The result raises :class:`UsageError` if the function returns anything but a floating tensor
    of one element; it does not look at the value. Raises :class:`UsageError` if the import fails.
    """
    function = import_callable(spec, "--loss", UsageError)

    def loss(output: object, target: object) -> torch.Tensor:
        value = function(output, target)
        if not isinstance(value, torch.Tensor):
            raise UsageError(
                f"--loss {spec}: returned a {type(value).__name__}; expected a scalar tensor"
            )
        if value.numel() != 1 or not value.is_floating_point():
            raise UsageError(
                f"--loss {spec}: returned {describe(value)}; expected a scalar, take the mean"
            )
        return value.reshape(())

    return loss


def default_loss(has_labels: bool) -> Loss:
    """Return :func:`cross_entropy` where there are labels, else :func:`reproduce`."""
    return cross_entropy if has_labels else reproduce


def class_scores(output: object, target: torch.Tensor) -> torch.Tensor:
    """Return the class scores in a model's output, with the classes in dim 1.

    The scores are ``output.logits`` or the first floating tensor, of shape ``(N, C, ...)`` or
    ``(N, ..., C)``, and ``target`` holds integer labels ``(N, ...)`` or probabilities like the
    scores. Raises :class:`DataError` if they do not match.
    """
    scores = first_floating(output)
    if scores is None:
        raise DataError("the model's output holds no floating tensor; give a loss with --loss")
    if target.is_floating_point():
        if target.shape == scores.shape and scores.ndim >= 2:
            return scores
        raise DataError(
            f"targets {describe(target)} are not class labels for the output {describe(scores)}; "
            f"{_OTHER_LOSSES}"
        )
    if scores.ndim >= 2 and target.shape == (scores.shape[0], *scores.shape[2:]):
        return scores
    if scores.ndim >= 2 and target.shape == scores.shape[:-1]:
        return scores.movedim(-1, 1)
    raise DataError(
        f"labels {describe(target)} do not fit the output {describe(scores)}; expected one label "
        "for each example, or give a loss with --loss package.module:fn"
    )


def counted_labels(target: torch.Tensor) -> torch.Tensor:
    """Return which predictions cross-entropy counts: bool ``(N, ...)``, without the classes.

    Of integer labels ``(N, ...)`` all but -100, of probabilities ``(N, C, ...)`` all.
    """
    if target.is_floating_point():
        shape = (target.shape[0], *target.shape[2:])
        return torch.ones(shape, dtype=torch.bool, device=target.device)
    return target.long() != IGNORED_LABEL  # among bytes -100 would stand for 156


def require_counted(counted: bool, where: str) -> None:
    """Raise :class:`DataError` if no label has counted; ``where`` says in which data."""
    if not counted:
        raise DataError(
            f"no label of {where} counts: all are {IGNORED_LABEL}, which cross-entropy ignores; "
            "check the labels, or leave them out"
        )


def check_labels(target: torch.Tensor, classes: int) -> None:
    """Raise :class:`DataError` for what cross-entropy would take, but learn nothing right from.

    That is: an integer label outside ``0 … classes - 1`` (-100, which cross-entropy ignores, is
    allowed); floating targets ``(N, C, ...)`` that are not probabilities; a model with one score,
    which names no class.
    """
    if target.numel() == 0:
        return
    if classes == 1:
        raise DataError(
            f"the model has one score for each example, and no classes; {_OTHER_LOSSES}"
        )
    if target.is_floating_point():
        whole = (target.sum(1) - 1).abs().max() < _SUM_TOLERANCE
        if not bool(whole and target.min() >= 0):
            raise DataError(
                f"targets {describe(target)} are no probabilities of classes (not from 0, or their "
                f"sum is not 1); {_OTHER_LOSSES}"
            )
        return
    known = target[counted_labels(target)]
    if known.numel() == 0:
        return
    low, high = int(known.min()), int(known.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"label {low if low < 0 else high} is out of range: the model has {classes} classes, "
            f"so labels go from 0 to {classes - 1}"
        )


def cross_entropy(output: object, target: object) -> torch.Tensor:
    """Return the mean cross-entropy in nats, a scalar; shapes as in :func:`class_scores`.

    The mean is over the labels that count (:func:`counted_labels`), and 0 where none does.
    """
    if not isinstance(target, torch.Tensor):
        raise DataError(f"labels are a {type(target).__name__}; expected a tensor")
    scores = class_scores(output, target)
    wanted = target.to(scores.dtype) if target.is_floating_point() else target.long()
    mean = F.cross_entropy(scores, wanted, ignore_index=IGNORED_LABEL)
    # A mean over nothing would be NaN, and so would all that it is added to.
    return torch.where(counted_labels(target).any(), mean, torch.zeros_like(mean))


def reproduce(output: object, teacher_output: object, scales: Sequence[float] = ()) -> torch.Tensor:
    """Return how far a batch's ``output`` is from ``teacher_output``, a scalar, free of scale.

    The mean squared error divided by the teacher's variance, averaged over all floating tensors
    of the (equally nested) outputs: 0 is equal, 1 is as bad as answering the teacher's mean. A
    constant teacher tensor is measured against its mean square instead. The variances are those of
    the batch, or ``scales`` (:func:`graphprune.training.distance.scales_of`). Entries where the
    teacher is not finite (masked scores) do not count.
    Raises :class:`DataError` if the outputs do not match.

    To judge by, :class:`graphprune.training.distance.Distance` takes all batches together.
    """
    pairs = paired(output, teacher_output)
    require_as_many(pairs, scales or pairs)
    known: Sequence[float | None] = scales or [None] * len(pairs)
    parts = [_distance(a, b.detach(), scale) for (a, b), scale in zip(pairs, known, strict=True)]
    return torch.stack(parts).mean()


def require_as_many(found: Sequence[object], before: Sequence[object]) -> None:
    """Raise :class:`DataError` if there are not as many floating tensors as in other batches."""
    if len(found) != len(before):
        raise DataError(
            f"the model returned {len(found)} floating tensors for one batch and {len(before)} for "
            "another, so its answers cannot be compared; give a loss"
        )


def paired(output: object, teacher_output: object) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the floating tensors of both outputs, which are nested alike, side by side.

    Raises :class:`DataError` if there are none, or their shapes differ.
    """
    ours, theirs = floating_outputs(output), floating_outputs(teacher_output)
    if not ours or [t.shape for t in ours] != [t.shape for t in theirs]:
        raise DataError(
            f"outputs do not match: {', '.join(map(describe, ours)) or 'none'} against "
            f"{', '.join(map(describe, theirs)) or 'none'}"
        )
    return list(zip(ours, theirs, strict=True))


def _distance(value: torch.Tensor, reference: torch.Tensor, scale: float | None) -> torch.Tensor:
    known = torch.isfinite(reference)
    count = known.sum().clamp(min=1)
    value = torch.where(known, value, torch.zeros_like(value)).float()
    reference = torch.where(known, reference, torch.zeros_like(reference)).float()
    error = (value - reference).square().sum() / count
    return error / (_scale(reference, known, count) if scale is None else scale)


def _scale(reference: torch.Tensor, known: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    mean = reference.sum() / count
    square = reference.square().sum() / count
    variance = torch.where(known, (reference - mean).square(), torch.zeros_like(reference)).sum()
    variance = variance / count
    scale = torch.where(variance > CONSTANT * square, variance, square)
    return torch.where(scale > 0, scale, torch.ones_like(scale))
