"""Random small networks, random scores and targets: what is shrunk always equals the reference.

``make fuzz`` runs thousands more of the same.
"""

from __future__ import annotations

from collections import Counter

import pytest
from engine_networks import network
from fuzz_blocks import BLOCKS, FRAMES, Recipe, build
from fuzz_check import LIMIT, Wish, check
from fuzz_profiles import Tally, run_examples

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture

SHARES = 4
"""Of the 300 examples, so that they spread over test workers."""


@pytest.mark.parametrize("share", range(SHARES))
def test_any_network_shrinks_to_its_masked_reference(share: int) -> None:
    tally = Tally()
    run_examples("test", share, tally)
    assert tally.ran >= 300 / SHARES
    # Examples in which nothing can be removed prove nothing.
    assert tally.shrunk >= 0.8 * tally.ran, tally
    # A comparison that does not notice wrong cuts proves nothing either. What may pass: dead units
    # behind a relu, a key's bias, a bias before a norm that subtracts the mean: 7 % of thousands,
    # so a fifth of these few is far more than chance.
    assert tally.mutants >= 0.75 * tally.ran
    assert len(tally.missed) <= 0.2 * tally.mutants, tally.missed


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_every_block_can_be_shrunk(name: str) -> None:
    """The random networks prove little if their blocks were pinned: what they hold must go."""
    lost: Counter[bool] = Counter()
    for b in range(3):
        recipe = Recipe(((name, 3, b),), "pooled", 6)
        model, inputs = build(recipe)
        captured = capture(model, inputs, dynamic=False)
        members = [m for g in analyse(captured.module).groups for m in g.members]
        lost[bool(members)] += 1
        outcome = check(recipe, Wish(seed=b))
        assert outcome.error <= LIMIT
    assert lost[True] >= 1


@pytest.mark.parametrize("frame", FRAMES)
def test_every_frame_can_be_shrunk(frame: str) -> None:
    recipe = Recipe((("residual", 2, 0), ("grouped_query", 2, 1)), frame, 6)
    outcomes = [check(recipe, Wish(dynamic=True, seed=seed)) for seed in range(2)]
    assert all(outcome.shrunk for outcome in outcomes)
    assert any(outcome.caught for outcome in outcomes)


def test_programs_are_captured_with_a_dynamic_batch() -> None:
    model, inputs = network((("attention", 2, 3), ("residual", 2, 1)))
    captured = capture(model, inputs)
    assert captured.dynamic_batch
    assert analyse(captured.module).groups
