"""What gradient-based criteria differentiate: the loss, or the output itself without labels.

Without labels the default loss is the distance to the original's own outputs, which at the original
is zero, and so is its gradient: first-order scores would all be zero. Its second derivative is not.
It is ``J^T C J``, with J the Jacobian of the outputs and C the diagonal matrix that
:func:`graphprune.io.loss.reproduce` weighs the outputs with. Random projections of the outputs,
``v^T y`` with ``E[v v^T] = C``, have squared gradients with just that expectation: the expected
squared change of the output, as the loss measures it. So that is what is differentiated instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch.utils import _pytree as pytree

from graphprune.criteria.base import Evidence, given_data
from graphprune.errors import UsageError
from graphprune.io.loss import (
    Loss,
    check_labels,
    class_scores,
    counted_labels,
    cross_entropy,
    reproduce,
)
from graphprune.io.tensors import floating_outputs
from graphprune.training.devices import Runtime
from graphprune.training.distance import scales_of

Outputs = list[torch.Tensor]


@dataclass
class Signal:
    """Scalars of a model's output whose gradients make a score.

    Attributes:
        name: of the criterion, for messages.
        loss: the user's, None for cross-entropy with labels and projections without.
        random: of the projections.
        scales: measures what squared distances of the outputs are divided by; () for those of each
            batch.
    """

    name: str
    loss: Loss | None
    random: torch.Generator
    scales: Callable[[], tuple[float, ...]] = tuple
    _judged: bool = field(default=False)

    @classmethod
    def of(cls, evidence: Evidence, name: str, rank: int = 0) -> Signal:
        """The signal for the evidence; ``rank`` is the number of the process."""
        captured, data = given_data(evidence, name)

        def scales() -> tuple[float, ...]:
            if isinstance(data, Iterator):  # what is read here would be missed there
                return ()
            return scales_of(captured, data, Runtime(mixed_precision=False).device)

        random = torch.Generator().manual_seed(evidence.seed + rank)
        return cls(name, evidence.loss, random, cache(scales))

    def is_mean(self, target: object) -> bool:
        """Whether :meth:`first` is a mean over the batch; a projection is a sum."""
        return target is not None or self.loss is not None

    def counted(self, target: object, examples: int) -> torch.Tensor:
        """How many labels of each example the loss is a mean over, float64 (``examples``,).

        Cross-entropy leaves some out, and sequences have several each; elsewhere it is one each.
        """
        one = torch.ones(examples, dtype=torch.float64)
        if self.loss is not None or not isinstance(target, torch.Tensor) or not target.ndim:
            return one
        if target.is_floating_point() or len(target) != examples:
            return one
        return counted_labels(target).reshape(examples, -1).sum(1).double()

    def first(self, output: object, target: object) -> torch.Tensor:
        """The scalar for first-order scores.

        It is the loss, a mean over the batch; without labels a random projection of the outputs.

        Raises:
            UsageError: a loss of the user's that compares the original with itself has no slope.
        """
        if target is not None:
            return (self.loss or cross_entropy)(output, target)
        if self.loss is None:
            return self._projection(output)
        reference = _detached(output)
        if not self._judged:
            self._refuse_stationary(self.loss, output, reference)
            self._judged = True
        return self.loss(output, reference)

    def curvature(self, output: object, target: object) -> tuple[torch.Tensor, torch.Tensor]:
        """Two scalars a, b of the output y with ``E[grad_y a grad_y b^T]`` the loss's Hessian.

        Where the Hessian has a root at hand, both are one: cross-entropy, ``diag(p) - p p^T`` for
        each prediction p, and projections without labels. Else a is a sum with random signs, and
        b the Hessian's product with them.
        """
        if target is None and self.loss is None:
            projection = self._projection(output)
            return projection, projection
        if self.loss is None:
            assert isinstance(target, torch.Tensor)
            root = self._cross_entropy_root(output, target)
            return root, root
        loss, known = self.loss, _detached(output) if target is None else target
        outputs = floating_outputs(output)
        signs, product = self._hessian_product(
            outputs, lambda tensors: loss(_with_floating(output, tensors), known)
        )
        return _inner(signs, outputs), _inner(product, outputs)

    def _projection(self, output: object) -> torch.Tensor:
        """A random scalar of the outputs whose gradient has the covariance C named above."""
        outputs = floating_outputs(output)
        references = [tensor.detach() for tensor in outputs]
        scales = self.scales()
        signs, product = self._hessian_product(outputs, lambda t: reproduce(t, references, scales))
        root = [s * (s * h).clamp(min=0).sqrt() for s, h in zip(signs, product, strict=True)]
        return _inner(root, outputs)

    def _cross_entropy_root(self, output: object, target: torch.Tensor) -> torch.Tensor:
        scores = class_scores(output, target)
        chances = scores.detach().float().softmax(1)
        signed = chances.sqrt() * self._signs(scores)
        factor = signed - chances * signed.sum(1, keepdim=True)
        if target.is_floating_point():
            count = scores.numel() // scores.shape[1]
        else:
            check_labels(target, scores.shape[1])
            counted = counted_labels(target)
            factor = factor * counted.unsqueeze(1)
            count = max(int(counted.sum()), 1)
        return _inner([factor / count**0.5], [scores])

    def _hessian_product(
        self, outputs: Outputs, loss: Callable[[Outputs], torch.Tensor]
    ) -> tuple[Outputs, Outputs]:
        """Random signs, and the product of the loss's Hessian by the outputs with them."""
        leaves = [tensor.detach().requires_grad_() for tensor in outputs]
        signs = [self._signs(leaf) for leaf in leaves]
        slopes = torch.autograd.grad(
            loss(leaves), leaves, create_graph=True, allow_unused=True, materialize_grads=True
        )
        if not any(slope.requires_grad for slope in slopes):
            return signs, [torch.zeros_like(leaf) for leaf in leaves]
        product = torch.autograd.grad(
            _inner(signs, list(slopes)), leaves, allow_unused=True, materialize_grads=True
        )
        return signs, list(product)

    def _signs(self, like: torch.Tensor) -> torch.Tensor:
        drawn = torch.randint(0, 2, like.shape, generator=self.random) * 2 - 1
        return drawn.to(like.device, like.dtype)

    def _refuse_stationary(self, loss: Loss, output: object, reference: object) -> None:
        """Compare the loss's slope at the original with that one percent away from it."""
        outputs = [tensor.detach() for tensor in floating_outputs(output)]

        def slope(step: float) -> float:
            leaves = [(t + step * t.abs() * self._signs(t)).requires_grad_() for t in outputs]
            value = loss(_with_floating(output, leaves), reference)
            slopes = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
            return math.sqrt(sum(float(s.double().square().sum()) for s in slopes))

        if slope(0) <= 1e-3 * slope(0.01):
            raise UsageError(
                f"method {self.name} has nothing to go by: without labels the loss compares the "
                "original with itself, where it has no slope; give labels, leave the loss out, "
                "or use obd"
            )


def _inner(weights: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum of products; where a weight is 0 its output, perhaps infinite, does not count."""
    parts = [
        (weight * torch.where(weight == 0, 0, output)).sum()
        for weight, output in zip(weights, outputs, strict=True)
    ]
    return torch.stack(parts).sum()


def _detached(output: object) -> object:
    return pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, output)


def _with_floating(output: object, tensors: Outputs) -> object:
    """The output with its floating tensors replaced, in order."""
    new = iter(tensors)
    return pytree.tree_map_only(
        torch.Tensor, lambda old: next(new) if old.is_floating_point() else old, output
    )
