"""Linear least squares for functions that are only known by calling them.

Conjugate gradients on the normal equations (CGLS; M. Hestenes and E. Stiefel, "Methods of Conjugate
Gradients for Solving Linear Systems", 1952, section 10): each step calls the function once and its
derivative once, so no matrix is ever built, whatever the operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

Tensors = list[torch.Tensor]
Affine = Callable[[int, Sequence[torch.Tensor]], torch.Tensor]
"""``f(batch, values)``: affine in the values."""

_FITTED = 1e-7
"""Share of the targets' sum of squares below which there is nothing to fit."""


@dataclass(frozen=True)
class Fit:
    """What a fit found.

    Attributes:
        values: tensors of the shapes of the start.
        before: sum of squared differences on the batches that judge, at the start, over the
            targets' sum of squares (as it is where the targets are zero).
        after: the same at ``values``; never larger.
    """

    values: Tensors
    before: float
    after: float


def is_affine(function: Callable[[Tensors], torch.Tensor], like: Sequence[torch.Tensor]) -> bool:
    """Whether a function of tensors of these shapes is affine, tried at two random points.

    Args:
        function: from tensors to one tensor.
        like: floating tensors whose shapes, dtypes and devices are used.
    """
    generator = torch.Generator().manual_seed(0)
    first, second = (
        [torch.randn(v.shape, generator=generator).to(v) for v in like] for _ in range(2)
    )
    both = [a + b for a, b in zip(first, second, strict=True)]
    with torch.no_grad():
        whole = function(both)
        if not whole.is_floating_point() or whole.numel() == 0:
            return False
        zero = function([torch.zeros_like(v) for v in like])
        gap = (whole + zero - function(first) - function(second)).abs().max()
        return bool(gap <= 1e-4 * whole.abs().max()) and bool(torch.isfinite(whole).all())


def least_squares(
    function: Affine,
    start: Sequence[torch.Tensor],
    targets: Sequence[torch.Tensor],
    judges: int,
    steps: int,
) -> Fit:
    """Values that bring an affine function near its targets, from a start that may be good already.

    The steps end as soon as one of them brings no gain on the batches that judge: stopping early
    keeps the values near the start, as a penalty would, and strength need not be chosen.

    Args:
        function: ``f(batch, values)``, affine in the values.
        start: where to begin.
        targets: one for each batch.
        judges: how many of the last batches judge and are not fitted to; 0: all do both.
        steps: at most so many.
    """
    fitted = range(len(targets) - judges)
    judging = range(len(targets) - judges, len(targets)) if judges else fitted
    values = best = [v.detach().clone() for v in start]
    origin = [torch.zeros_like(v) for v in values]
    with torch.no_grad():
        left = [t - function(b, values) for b, t in enumerate(targets)]
        constant = [function(b, origin) for b in range(len(targets))]
        scale = _squares(targets[b] for b in judging) or 1.0
    before = after = _squares(left[b] for b in judging)
    if before <= _FITTED * scale:
        return Fit(best, before / scale, before / scale)
    direction, slope = origin, 0.0
    for step in range(steps + 1):
        points = [d.clone().requires_grad_() for d in direction]
        moved = [function(b, points) for b in fitted]
        if step:
            with torch.no_grad():
                change = [m - constant[b] for m, b in zip(moved, fitted, strict=True)]
                change += [function(b, direction) - constant[b] for b in judging if judges]
                curvature = _squares(change[b] for b in fitted)
                if curvature == 0:
                    break
                length = slope / curvature
                values = [v + length * d for v, d in zip(values, direction, strict=True)]
                left = [r - length * c for r, c in zip(left, change, strict=True)]
            now = _squares(left[b] for b in judging)
            if not now < after:
                break
            best, after = values, now
        gradient = torch.autograd.grad(moved, points, [left[b] for b in fitted])
        steepness = _squares(gradient)
        if steepness == 0:
            break
        turn = steepness / slope if step else 0.0
        direction = [g + turn * d for g, d in zip(gradient, direction, strict=True)]
        slope = steepness
    return Fit(best, before / scale, after / scale)


def _squares(tensors: Iterable[torch.Tensor]) -> float:
    return float(sum(float(t.square().sum()) for t in tensors))
