"""A recurrent network for images: their rows are its steps."""

from __future__ import annotations

import torch
from torch import nn


class RowLSTM(nn.Module):
    """(N, 1, 28, 28) -> (N, 10): an LSTM of 128 units over the rows, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 128, batch_first=True)
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x[:, 0])[0][:, -1])
