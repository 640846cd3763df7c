"""Programs of models left in training mode, as a forgotten ``model.eval()`` makes them."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune import compress
from graphprune.capturing.capture import capture
from graphprune.passes.set_mode import exported_in_training
from graphprune.proof.compare import max_relative_error

NOTE = "MODEL was exported in training mode"


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project, self.out = nn.Linear(8, 24), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in self.project(x).chunk(3, 2))
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=0.3 if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Uncertain(nn.Module):
    """Monte-Carlo dropout beside a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.dropout(self.norm(self.first(x)), 0.2, training=True))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(6, 8, 2, dropout=0.3), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.lstm(x)[0])


LEFT_IN_TRAINING = {
    "norm": (
        nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3)),
        (4, 3, 8, 8),
    ),
    "norm and dropout": (
        nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3)
        ),
        (4, 6),
    ),
    "dropout": (nn.Sequential(nn.Linear(6, 16), nn.Dropout(), nn.Linear(16, 3)), (4, 6)),
    "attention": (Attention(), (2, 5, 8)),
    "lstm": (Recurrent(), (5, 2, 6)),
}


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # the LSTM's
@pytest.mark.parametrize("name", LEFT_IN_TRAINING)
def test_is_compressed_in_evaluation_mode(name: str) -> None:
    made, shape = LEFT_IN_TRAINING[name]
    torch.manual_seed(0)
    model, x = copy.deepcopy(made).train(), torch.randn(shape)
    program = torch.export.export(model, (x,))
    captured = capture(program, x)
    assert captured.was_training
    assert max_relative_error(captured.module(x), model.eval()(x)) < 1e-6
    result = compress(program, x, method="l2", target="channels=0.5")
    expected = compress(model, x, method="l2", target="channels=0.5")
    assert max_relative_error(result.model(x), expected.model(x)) < 1e-6
    assert [note for note in result.stages.notes if NOTE in note]
    assert not [note for note in expected.stages.notes if NOTE in note]


def test_trains_on_after_that() -> None:
    torch.manual_seed(0)
    model, x = copy.deepcopy(LEFT_IN_TRAINING["norm"][0]).train(), torch.randn(4, 3, 8, 8)
    module = capture(torch.export.export(model, (x,)), x).module.train()
    torch.testing.assert_close(module(x), model(x))
    torch.testing.assert_close(module.get_buffer("1.running_mean"), model[1].running_mean)
    assert module.get_buffer("1.num_batches_tracked").item() == 1


def test_dropout_that_the_model_itself_fixes_stays() -> None:
    x = torch.randn(4, 6)
    captured = capture(torch.export.export(Uncertain().eval(), (x,)), x)
    assert not captured.was_training
    assert not torch.equal(captured.module(x), captured.module(x))


def test_norms_whose_form_has_no_statistics_are_not_switched() -> None:
    """Their flag is always on and no sign of training; turned off, it ends the process."""
    model, x = nn.Sequential(nn.Conv2d(2, 8, 3), nn.InstanceNorm2d(8)), torch.randn(2, 2, 6, 6)
    program = torch.export.export(model.eval(), (x,)).run_decompositions()
    named = {str(node.target) for node in program.graph.nodes}
    assert "aten._native_batch_norm_legit.no_stats" in named
    assert not exported_in_training(program.graph)
    captured = capture(program, x)
    assert not captured.was_training
    assert max_relative_error(captured.module(x), model(x)) < 1e-6
