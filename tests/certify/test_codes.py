"""Models that read codes out of a table of floats, which random numbers do not spare."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.capturing.capture import capture
from graphprune.compress import compress
from graphprune.errors import CertificateError
from graphprune.proof.check_inputs import check_inputs


class Clicks(nn.Module):
    """Looks up the first two columns and takes the third as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = nn.ModuleList([nn.Embedding(30, 8), nn.Embedding(3, 8)])
        self.inner = nn.Linear(17, 12)
        self.outer = nn.Linear(12, 2)

    def forward(self, table: Tensor) -> Tensor:
        looked_up = [kind(table[:, i].long()) for i, kind in enumerate(self.kinds)]
        return self.outer(self.inner(torch.cat([*looked_up, table[:, 2:]], 1)).relu())


def _table() -> Tensor:
    codes = torch.stack([torch.tensor([0, 29, 7, 12]), torch.tensor([2, 0, 1, 1])], 1)
    return torch.cat([codes.float(), torch.randn(4, 1) * 5 - 9], 1)


def test_codes_change_places_and_amounts_are_drawn() -> None:
    table = _table()
    captured = capture(Clicks().eval(), table)
    _, *drawn = [args[0] for args, _ in check_inputs(captured)]
    for one in drawn:
        assert one[:, :2].tolist() != table[:, :2].tolist()
        assert sorted(one[:, :2].tolist()) == sorted(table[:, :2].tolist())
        assert not torch.isin(one[:, 2], table[:, 2]).all()


def test_a_model_of_codes_is_pruned() -> None:
    result = compress(Clicks().eval(), _table(), method="l2", target="channels=0.5")
    assert result.plan.widths["inner.weight"] == (12, 6)


def test_codes_that_are_never_spared_are_explained() -> None:
    """Codes and amounts in one column: no draw of whole numbers alone is right."""

    class Mixed(Clicks):
        def forward(self, table: Tensor) -> Tensor:
            return super().forward(torch.cat([(table[:, :2] * 2).floor(), table[:, 2:]], 1))

    table = _table()
    table[:, 0] = torch.tensor([0.6, 2.1, 0.7, 1.2])
    table[:, 1] = torch.tensor([0.6, 0.1, 0.7, 0.2])
    with pytest.raises(CertificateError, match=r"IndexError.*codes that must stay") as caught:
        compress(Mixed().eval(), table, method="l2", target="channels=0.5")
    assert "\n" not in str(caught.value)
