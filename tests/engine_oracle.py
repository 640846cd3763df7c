"""The oracle of the engine's tests: shrink a model, compare it with the masked reference."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.choosing.budget import choose
from graphprune.choosing.plan import Plan
from graphprune.choosing.thinning import FREELY, Thinning
from graphprune.graph.graphmodule import TrainableGraphModule
from graphprune.passes.shrink import Shrink
from graphprune.proof.compare import max_relative_error, require_informative
from graphprune.proof.masked import MaskedReference

LIMIT = 1e-4


@dataclass(frozen=True)
class Shrunk:
    """A model before and after.

    Attributes:
        captured: the whole model.
        analysis: of it.
        plan: what was kept.
        small: the shrunk graph.
        error: largest relative error against the masked reference, over several inputs.
    """

    captured: Captured
    analysis: Analysis
    plan: Plan
    small: TrainableGraphModule
    error: float

    @property
    def params_kept(self) -> float:
        """Fraction of the parameters that stay."""
        return count(self.small) / count(self.captured.module)


def count(module: nn.Module) -> int:
    """Trainable values, tied ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def random_scores(analysis: Analysis, seed: int = 0) -> dict[str, torch.Tensor]:
    """Scores in random order, so that no test rests on a regular pattern of kept channels."""
    generator = torch.Generator().manual_seed(seed)
    return {g.name: torch.rand(g.size, generator=generator) for g in analysis.groups}


def alike(value: Any, seed: int) -> Any:
    """Other inputs of the same structure: floats drawn anew, integers permuted over the batch."""
    generator = torch.Generator().manual_seed(seed)

    def draw(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if leaf.is_floating_point():
            return torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)
        flat = leaf.reshape(-1)
        return flat[torch.randperm(flat.numel(), generator=generator)].reshape(leaf.shape)

    return torch.utils._pytree.tree_map(draw, value)


def compare(captured: Captured, analysis: Analysis, plan: Plan, small: nn.Module) -> float:
    """Largest relative error of ``small`` against the masked one; refuses constant outputs."""
    reference = MaskedReference(analysis, plan.keep(analysis))
    inputs = [(captured.args, captured.kwargs)]
    inputs += [alike((captured.args, captured.kwargs), seed) for seed in (1, 2)]
    with torch.no_grad():
        expected = [reference(*args, **kwargs) for args, kwargs in inputs]
        actual = [small(*args, **kwargs) for args, kwargs in inputs]
        whole = captured.module(*captured.args, **captured.kwargs)
    require_informative(expected, LIMIT)
    leaves = torch.utils._pytree.tree_leaves
    shapes = [tuple(leaf.shape) for leaf in leaves(whole) if isinstance(leaf, torch.Tensor)]
    small_shapes = [tuple(x.shape) for x in leaves(actual[0]) if isinstance(x, torch.Tensor)]
    assert small_shapes == shapes, "an output has changed its shape"
    return max(max_relative_error(a, b) for a, b in zip(actual, expected, strict=True))


def shrink(captured: Captured, analysis: Analysis, plan: Plan) -> TrainableGraphModule:
    """The shrunk copy."""
    small = copy.deepcopy(captured.module)
    Shrink(analysis, plan)(small)
    return small


def prune(
    captured: Captured,
    analysis: Analysis,
    target: str,
    *,
    seed: int = 0,
    thinning: Thinning = FREELY,
) -> Shrunk:
    """Plan from random scores, shrink, compare."""
    plan = choose(analysis, random_scores(analysis, seed), target, thinning=thinning).plan
    small = shrink(captured, analysis, plan)
    return Shrunk(captured, analysis, plan, small, compare(captured, analysis, plan, small))


def compress(
    model: nn.Module, inputs: Any, target: str = "channels=0.5", *, seed: int = 0
) -> Shrunk:
    """Capture and analyse, then as :func:`prune`."""
    captured = capture(model, inputs)
    return prune(captured, analyse(captured.module), target, seed=seed)


def state_names(module: nn.Module) -> set[str]:
    """Names in the state dict."""
    return set(module.state_dict())
