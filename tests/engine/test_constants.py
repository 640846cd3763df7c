"""Questions asked while a model is captured: answered only where no input has a say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from graphprune.capturing.capture import capture
from graphprune.errors import ModelError

Tensor = torch.Tensor


class Asking(nn.Module):
    """Doubles its input, or not, as a question about some tensor has it."""

    def __init__(self, ask: Callable[[Asking, Tensor], bool]) -> None:
        super().__init__()
        self.ask = ask
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("mask", torch.ones(3, 3).triu(1))
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x + self.weight if self.ask(self, x) else x - self.weight


def _made(model: Asking, x: Tensor) -> bool:
    mask = torch.ones(x.shape[1], x.shape[1]).triu(1)
    return bool((mask == model.mask).all())


def _written(model: Asking, x: Tensor) -> bool:
    seen = torch.zeros(3)
    seen.add_(x[0])
    return bool((seen == 0).all())


ANSWERED: dict[str, Callable[[Asking, Tensor], bool]] = {
    "a mask made on the way": _made,
    "one element of a buffer": lambda model, x: model.mask[0, 1].item() > 0,
    "its sum as a number": lambda model, x: int(model.mask.sum()) == 3,
    "equal tensors": lambda model, x: torch.equal(model.mask, model.mask.clone()),
    "a list of its numbers": lambda model, x: torch.arange(1, x.dim() + 1).tolist() == [1, 2],
    "its elements one by one": lambda model, x: sum(int(i) for i in model.mask[0]) == 2,
    "whether a number is in it": lambda model, x: 5 in torch.arange(3),
    "an array of numpy": lambda model, x: bool(model.mask.numpy()[0, 1] > 0),
    "tensors nearly equal": lambda model, x: torch.allclose(model.seen, model.seen + 1e-9),
    "a tensor of numbers": lambda model, x: torch.tensor([3, 1]).tolist() == [3, 1],
    "no": lambda model, x: bool(model.mask.all()),
}

ORDERS: dict[str, Callable[[Asking, Tensor], Tensor]] = {
    "one by one": lambda model, x: x.permute(*torch.cat((torch.tensor([1]), torch.arange(1)))),
    "in a list": lambda model, x: x.permute([torch.tensor(1), torch.tensor(0)]),
    "a size": lambda model, x: x.T.repeat(1, model.mask.sum().long()),
}

LEFT: dict[str, Callable[[Asking, Tensor], bool]] = {
    "an input": lambda model, x: bool((x > 0).all()),
    "an input and a buffer": lambda model, x: bool((model.mask + x[:1] > 0).any()),
    "numbers of an input": lambda model, x: 5.0 in x[0].tolist(),
    "an input nearly equal": lambda model, x: torch.allclose(x, model.mask[:2]),
    "a parameter, which may be trained": lambda model, x: bool((model.weight > 0).all()),
    "what an input is written into": _written,
    "chance": lambda model, x: bool((torch.rand(3) + model.mask[0] > 0.5).all()),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_known_without_the_inputs(name: str) -> None:
    model, x = Asking(ANSWERED[name]).eval(), torch.randn(2, 3)
    module = capture(model, x).module
    for given in (x, -x, torch.randn(5, 3)):
        assert torch.equal(module(given), model(given))


@pytest.mark.parametrize("name", LEFT)
def test_left_to_torch_export(name: str) -> None:
    with pytest.raises(ModelError, match=r"torch.export cannot capture Asking"):
        capture(Asking(LEFT[name]).eval(), torch.randn(2, 3))


@pytest.mark.parametrize("name", ORDERS)
def test_sizes_and_dimensions_may_be_constant_tensors(name: str) -> None:
    """compressai's entropy model exchanges channels and batch by a tensor of dimensions."""

    class Ordered(Asking):
        def forward(self, x: Tensor) -> Tensor:
            return ORDERS[name](self, x) * 2

    model, x = Ordered(lambda model, x: True).eval(), torch.randn(2, 3)
    module = capture(model, x).module
    for given in (x, torch.randn(5, 3)):
        assert torch.equal(module(given), model(given))
