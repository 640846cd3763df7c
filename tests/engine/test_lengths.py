"""Labels and masks at batches other than the captured one."""

from __future__ import annotations

import pytest
import torch
from engine_oracle import random_scores, shrink
from torch import nn

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.choosing.budget import choose
from graphprune.labels.lengths import labels_at
from graphprune.proof.masked import MaskedReference


class Merged(nn.Module):
    """Channels and examples in one dimension, the examples outside or inside."""

    def __init__(self, *, inside: bool) -> None:
        super().__init__()
        self.first, self.second, self.inside = nn.Linear(5, 6), nn.Linear(6, 3), inside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        if self.inside:
            x = torch.relu(x.t().reshape(-1) + 0.5).reshape(6, -1).t()
        else:
            x = torch.relu(x.reshape(-1) + 0.5).reshape(-1, 6)
        return self.second(x)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("batch", [2, 3, 4, 8])
def test_the_masked_reference_at_any_batch(batch: int, inside: bool) -> None:
    # From 2 to 4 examples inside: 12 elements would also be 2 runs of 6 for examples outside.
    captured = capture(Merged(inside=inside).eval(), torch.randn(2, 5))
    analysis = analyse(captured.module)
    plan = choose(analysis, random_scores(analysis, 0), "channels=0.5").plan
    reference = MaskedReference(analysis, plan.keep(analysis))
    x = torch.randn(batch, 5)
    torch.testing.assert_close(reference(x), shrink(captured, analysis, plan)(x))


@pytest.mark.parametrize("inside", [False, True])
def test_labels_of_a_larger_batch(inside: bool) -> None:
    module = capture(Merged(inside=inside).eval(), torch.randn(2, 5)).module
    analysis = analyse(module)
    (relu,) = module.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)
    (slot,) = analysis.context.of(relu)
    (longer,) = labels_at((slot,), relu.meta["val"], torch.Size([24])) or ()
    channels = slot[::2] if inside else slot[:6]
    expected = channels.repeat_interleave(4) if inside else channels.repeat(4)
    assert longer.tolist() == expected.tolist()
    mixed = torch.randperm(12)
    assert labels_at((mixed,), relu.meta["val"], torch.Size([24])) is None
