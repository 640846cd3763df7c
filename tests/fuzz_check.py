"""One example of the random tests: a network, a choice of channels, and all that must hold."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import torch
from engine_oracle import alike, shrink
from fuzz_blocks import Recipe, build
from fuzz_cuts import cut_out, mutate
from torch import fx, nn
from torch.utils import _pytree as pytree

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.choosing.budget import choose
from graphprune.choosing.plan import Plan
from graphprune.choosing.thinning import Thinning
from graphprune.cutting import fits_one_batch
from graphprune.errors import CertificateError, TargetError
from graphprune.graph.values import concrete, get_tensor
from graphprune.proof.compare import max_relative_error, require_informative
from graphprune.proof.masked import MaskedReference

LIMIT = 1e-7
"""Largest relative error in double precision; right cuts stay far below, wrong ones above."""

NOTHING = "all are pinned"
"""What a refusal says where there is nothing to remove."""

OUT_OF_REACH = "cannot be reached"
"""What a refusal says of too low a target; half of the channels are removed instead."""

CONSTANT = "does not vary with the input"
"""What is said of outputs that are the same for all inputs, so that comparing them is no proof."""


@dataclass(frozen=True)
class Wish:
    """What is asked of the planner.

    Attributes:
        target: kind and fraction, as users write it.
        ranking: one of graphprune.choosing.ranking.RANKINGS.
        heads: what rows of grids may lose.
        seed: of the random scores.
        dynamic: whether the batch size is left free at capture, which takes twice as long.
        round_to: what widths are multiples of.
    """

    target: str = "channels=0.5"
    ranking: str = "local"
    heads: str = "both"
    seed: int = 0
    dynamic: bool = False
    round_to: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of an example.

    Attributes:
        refused: nothing could be removed, or nothing compared; the line that said so.
        shrunk: whether any parameter became smaller.
        error: against the masked reference.
        mutant: the parameter in which one index was exchanged on purpose, "" for none.
        caught: whether that was noticed.
    """

    refused: str = ""
    shrunk: bool = False
    error: float = 0.0
    mutant: str = ""
    caught: bool = False


class Expected:
    """Outputs of the masked reference for several inputs, each of which must vary."""

    def __init__(self, captured: Captured, analysis: Analysis, plan: Plan) -> None:
        given = (captured.args, captured.kwargs)
        self._inputs = [given, *(alike(given, seed) for seed in (1, 2))]
        reference = MaskedReference(analysis, plan.keep(analysis))
        self._outputs = [reference(*args, **kwargs) for args, kwargs in self._inputs]
        require_informative(self._outputs, LIMIT)

    def error(self, small: nn.Module) -> float:
        """Largest relative error of a model; infinite where its outputs have other shapes."""
        with torch.no_grad():
            actual = [small(*args, **kwargs) for args, kwargs in self._inputs]
        pairs = zip(actual, self._outputs, strict=True)
        return max(max_relative_error(a, b) for a, b in pairs)


def check(recipe: Recipe, wish: Wish) -> Outcome:
    """Capture, analyse, plan, shrink; assert that the result is what the plan and model promise.

    Raises:
        AssertionError: one of the assertions below does not hold.
        GraphpruneError: any but a refusal because nothing can be removed.
    """
    model, inputs = build(recipe)
    captured = capture(model, inputs, dynamic=wish.dynamic)
    with torch.no_grad():
        whole = captured.module(*captured.args, **captured.kwargs)
        assert max_relative_error(whole, model(*captured.args, **captured.kwargs)) <= LIMIT
    analysis = analyse(captured.module)
    try:
        plan = _choose(analysis, wish)
    except TargetError as refusal:
        if NOTHING not in str(refusal):
            raise
        return Outcome(refused=str(refusal))
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan, "a plan does not survive JSON"
    small = shrink(captured, analysis, again)
    _assert_slices(captured.module, small, plan)
    _assert_nothing_is_emptied(captured.module, small)
    with torch.no_grad():
        _assert_shapes(whole, small(*captured.args, **captured.kwargs))
    try:
        expected = Expected(captured, analysis, plan)
    except CertificateError as vacuous:  # such as a norm over the one channel that is left
        if CONSTANT not in str(vacuous):
            raise
        return Outcome(refused=str(vacuous))
    error = expected.error(small)
    assert error <= LIMIT, f"shrunk differs from masked by {error:.3g}"
    cut = dataclasses.replace(captured, module=small)
    assert not fits_one_batch(cut, analysis, plan), "the small model has lost its free batch"
    if not plan.kept:
        return Outcome()
    mutant = mutate(captured.module, small, plan, wish.seed)
    if mutant is None:
        return Outcome(shrunk=True, error=error)
    name, mutated = mutant
    return Outcome("", True, error, name, expected.error(mutated) > LIMIT)


def _choose(analysis: Analysis, wish: Wish) -> Plan:
    generator = torch.Generator().manual_seed(wish.seed)
    scores = {}
    for group in analysis.groups:  # scales of their own, so that global ranking cuts unevenly
        scale = 0.3 + torch.rand(1, generator=generator)
        scores[group.name] = scale * torch.rand(group.size, generator=generator)
    thinning = Thinning(wish.heads, wish.round_to)
    try:
        plan = choose(analysis, scores, wish.target, ranking=wish.ranking, thinning=thinning).plan
    except TargetError as refusal:
        if OUT_OF_REACH not in str(refusal):
            raise
        plan = choose(
            analysis, scores, "channels=0.5", ranking=wish.ranking, thinning=thinning
        ).plan
    for name, (before, after) in plan.widths.items():
        # None where all others of its tensors are pinned; see _assert_nothing_is_emptied.
        assert 0 <= after <= before, f"{name} keeps {after} of {before} channels"
        if after < before and not analysis.by_name[name].in_step:
            assert after % wish.round_to == 0, f"{name} keeps {after}, no multiple"
    return plan


def _assert_shapes(whole: Any, small: Any) -> None:
    assert pytree.tree_structure(whole) == pytree.tree_structure(small)
    for before, after in zip(pytree.tree_leaves(whole), pytree.tree_leaves(small), strict=True):
        assert before.shape == after.shape, f"an output of {before.shape} became {after.shape}"


def _assert_slices(whole: nn.Module, small: nn.Module, plan: Plan) -> None:
    """Parameters and buffers are what the plan's lists cut out, found without the engine's code."""
    names = {name for name, _ in whole.named_parameters(remove_duplicate=False)}
    assert names == {name for name, _ in small.named_parameters(remove_duplicate=False)}
    for name in names:
        before, after = get_tensor(whole, name), get_tensor(small, name)
        assert after.numel() >= 1, f"nothing is left of {name}"
        cut = cut_out(before, plan.kept.get(name, {}))
        if cut is not None:  # else the comparison of outputs must do
            assert torch.equal(cut, after), f"{name} is not what the plan keeps of it"


def _assert_nothing_is_emptied(whole: fx.GraphModule, small: fx.GraphModule) -> None:
    """No value of the graph, parameters among them, is left without any channel."""
    values = {node.name: pytree.tree_leaves(node.meta.get("val")) for node in whole.graph.nodes}
    for node in small.graph.nodes:
        left = pytree.tree_leaves(node.meta.get("val"))
        for before, after in zip(values[node.name], left, strict=True):
            if isinstance(before, torch.Tensor) and 0 not in concrete(list(before.shape)):
                sizes = concrete(list(after.shape))
                assert 0 not in sizes, f"{node.name} of {before.shape} became {sizes}"
