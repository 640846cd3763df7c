"""Moving graphs and dealing out batches."""

from __future__ import annotations

import torch
from torch import nn

from graphprune.capturing.capture import capture
from graphprune.progress import LossLog
from graphprune.training.devices import Runtime, module_device, move, run_module


def test_devices_baked_into_a_graph_move_with_it() -> None:
    class Baked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            offset = torch.zeros(x.shape[0], 4, device=x.device)
            return self.linear(x) + offset.to(torch.device("cpu"))

    graph = capture(Baked(), torch.randn(2, 3)).module
    move(graph, torch.device("meta"))
    assert module_device(graph).type == "meta"
    assert graph(torch.randn(2, 3, device="meta")).device.type == "meta"


def test_one_process_takes_every_batch() -> None:
    data = [((torch.full((2,), float(i)),), None) for i in range(3)]
    taken = list(Runtime().batches(data))
    assert [inputs[0][0].item() for inputs, _ in taken] == [0, 1, 2]
    assert module_device(nn.ReLU()).type == "cpu"


def test_inputs_come_in_three_forms() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor | int = 2) -> torch.Tensor:
            return x - y

    x, y = torch.ones(2), torch.zeros(2)
    assert torch.equal(run_module(Two(), x), x - 2)
    assert torch.equal(run_module(Two(), (x, y)), x)
    assert torch.equal(run_module(Two(), {"y": x, "x": y}), -x)


def test_losses_are_read_in_blocks_and_kept_in_order() -> None:
    reported: list[int] = []
    log = LossLog("stage", 5, lambda stage, done, total, info: reported.append(done), every=2)
    for value in range(5):
        log.add(loss=torch.tensor(float(value)))
    log.flush()
    log.flush()
    assert reported == [2, 4, 5]
    assert [entry["loss"] for entry in log.history] == [0, 1, 2, 3, 4]
    assert [entry["step"] for entry in log.history] == [1, 2, 3, 4, 5]
