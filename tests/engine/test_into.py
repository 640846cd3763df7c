"""A plan applied to the user's own module: tensors, attributes and outputs, or nothing at all."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from into_checks import (
    IMAGES,
    assert_into,
    assert_same_state,
    count,
    image_model,
    shrunk,
    state,
)
from shared_heads import HEADS, KINDS, SIZE, TOKENS, WIDTH
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from benchmarks.models.lenet import LeNet5
from graphprune.compress import compress
from graphprune.compressed import CompressConfig
from graphprune.errors import UsageError
from graphprune.into.apply import apply
from graphprune.training.finetune import FinetuneConfig


class Twin(nn.Module):
    """Layers of 12 to 12 channels, the two sides of which lose unlike numbers of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.GroupNorm(3, 12)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.second = nn.Conv2d(12, 12, 1)
        self.up = nn.ConvTranspose2d(12, 12, 2, stride=2)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(F.relu(self.norm(self.first(x))))
        return self.head(F.relu(self.up(F.relu(self.second(x)))).mean((2, 3)))


class Attention(nn.Module):
    """Attention with its sizes in attributes; ``fused`` leaves the scale to PyTorch."""

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.inner_dim = heads, width // heads, width
        self.depth = 4  # what it stands for is not the number of heads, though it is as large
        self.scale = self.head_dim**-0.5
        self.fused = fused
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1) * self.scale).softmax(-1) @ v
        for _ in range(self.depth // 4):
            y = y * 1.25
        return self.out(y.transpose(1, 2).reshape(batch, length, self.inner_dim))


class Tokens(nn.Module):
    """A stem, two blocks of attention and a head tied to nothing."""

    def __init__(self, *, heads: int = 4, fused: bool = False) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.blocks = nn.ModuleList(Attention(32, heads, fused) for _ in range(2))
        self.head = nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.head(x.mean(1))


class HardCoded(nn.Module):
    """A size in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(F.relu(self.conv(x)), 4)
        return self.fc(x.view(-1, 128))


class Tied(nn.Module):
    """One matrix under two names, and a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 16)
        self.one, self.two = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.two.weight = self.one.weight
        self.head = nn.Linear(16, 3)
        self.head.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.up(x))
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


def test_attributes_of_layers_whose_sides_are_alike() -> None:
    model = image_model(Twin())
    with torch.no_grad():
        model.second.weight[:5] *= 0.01
    own = assert_into(model, torch.randn(2, *IMAGES), ranking="global", heads="whole")
    widths = {layer.out_channels for layer in (own.first, own.second, own.up)}
    assert len(widths) > 1, "the sides are to lose unlike numbers of channels"
    assert own.second.in_channels != own.second.out_channels
    assert own.depthwise.groups == own.first.out_channels


def test_lenet_trains_on() -> None:
    own = assert_into(LeNet5(), torch.randn(2, 1, 28, 28)).train()
    before = [p.detach().clone() for p in own.parameters()]
    optimiser = torch.optim.SGD(own.parameters(), lr=0.1)
    F.cross_entropy(own(torch.randn(8, 1, 28, 28)), torch.arange(8)).backward()
    optimiser.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, own.parameters(), strict=True))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("heads", ["whole", "inside"])
def test_attention_follows_by_its_attributes(heads: str, fused: bool) -> None:
    model = Tokens(fused=fused)
    own = assert_into(model, torch.randn(2, 7, 6), heads=heads, plain=False)
    for block in own.blocks:  # type: ignore[union-attr]
        assert block.inner_dim == block.num_heads * block.head_dim < 32
        assert block.depth == 4
        assert block.scale == 8**-0.5
        assert (block.num_heads < 4, block.head_dim < 8) == (heads == "whole", heads == "inside")


def test_number_of_heads_that_equals_the_number_of_parts() -> None:
    own = assert_into(Tokens(heads=8), torch.randn(2, 7, 6), heads="whole")
    assert all(block.num_heads == 4 for block in own.blocks)  # type: ignore[union-attr]


def test_default_scale_is_made_up_for_in_the_weights() -> None:
    model = Tokens(fused=True).eval()
    result = shrunk(model, torch.randn(2, 7, 6), heads="inside")
    result.into(model)
    for number, block in enumerate(model.blocks):
        kept = result.model.get_parameter(f"blocks.{number}.qkv.weight")
        rows = block.num_heads * block.head_dim
        factor = math.sqrt(block.head_dim / 8)
        torch.testing.assert_close(block.qkv.weight[:rows], kept[:rows] * factor)
        assert torch.equal(block.qkv.weight[rows:], kept[rows:])


@pytest.mark.parametrize("kind", ["all heads", "without bias", "two queries a key", "norms"])
def test_default_scale_is_made_up_for_through_rotary_positions_and_norms(kind: str) -> None:
    """What reaches the product of queries and keys is not the projection itself there."""
    model, inputs = KINDS[kind]().eval(), torch.randn(2, TOKENS, WIDTH)
    result = shrunk(model, inputs, heads="inside")
    result.into(model)
    assert model.q.out_features == HEADS * SIZE // 2
    torch.testing.assert_close(model(inputs), result.model(inputs))


class Slots(nn.Module):
    """Attention in named dimensions, in rounds of the same layers, scaled by the width it finds."""

    def __init__(self, rounds: int, equation: str) -> None:
        super().__init__()
        self.up, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.rounds, self.equation = rounds, equation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(x)
        k, v = self.k(x), self.v(x)
        for _ in range(self.rounds):
            scores = torch.einsum(self.equation, self.q(x), k) * k.size(-1) ** -0.5
            x = x + scores.softmax(-1) @ v
        return self.head(x.mean(1))


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("equation", ["bid,bjd->bij", "...id, ...jd -> ...ij", "bnd,bmd"])
def test_scale_is_made_up_for_through_einsum_and_in_rounds(rounds: int, equation: str) -> None:
    model, inputs = Slots(rounds, equation).eval(), torch.randn(2, 7, 6)
    result = shrunk(model, inputs)
    result.into(model)
    assert model.q.out_features == 8
    torch.testing.assert_close(model(inputs), result.model(inputs))


def test_hard_coded_size_names_the_line_and_leaves_the_model_alone() -> None:
    model = image_model(HardCoded()).train()
    result = shrunk(copy.deepcopy(model), torch.randn(2, *IMAGES))
    before = state(model)
    with pytest.raises(UsageError, match=r"HardCoded.*x\.view\(-1, 128\)") as caught:
        result.into(model)
    assert "\n" not in str(caught.value)
    assert model.training
    assert_same_state(before, state(model))


class TakesApart(nn.Module):
    """Empties the list that it is given, and has a size in its code."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 8)
        self.outer = nn.Linear(8, 3)

    def forward(self, boxed: list[torch.Tensor], scale: float) -> torch.Tensor:
        y = F.relu(self.inner(boxed.pop(0))) * scale
        return self.outer(y.view(-1, 8))


def test_inputs_that_are_taken_apart_stay_for_the_explanation() -> None:
    model, given = TakesApart().eval(), ([torch.randn(2, 4)], 2.0)
    result = compress(copy.deepcopy(model), given, method="l2", target="channels=0.5")
    assert result.plan.widths == {"inner.weight": (8, 4)}
    with pytest.raises(UsageError, match=r"TakesApart.*y\.view\(-1, 8\)"):
        result.into(model)


class Halves(nn.Module):
    """Two parts, as wide as each other by the code, of which one matters more by the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 1)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.conv.weight[:8] *= 0.01

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.conv(x).tanh().chunk(2, dim=1)
        return self.left(left) + self.right(right)


def test_parts_that_are_no_longer_halves() -> None:
    model = Halves()
    result = shrunk(copy.deepcopy(model), torch.randn(2, 3, 4, 4))
    before = state(model)
    with pytest.raises(UsageError, match=r"Halves: .*chunk\(2, dim=1\)"):
        result.into(model)
    assert_same_state(before, state(model))


class Doubling(HardCoded):
    """The same tensors, other values; its sizes are free."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(F.relu(self.conv(x)), 4)
        return 2 * self.fc(x.flatten(1))


class Single(Doubling):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 2


def test_other_values_are_refused() -> None:
    result = shrunk(image_model(Single()), torch.randn(2, *IMAGES))
    other = image_model(Doubling())
    before = state(other)
    with pytest.raises(UsageError, match="Doubling: its forward gives other values"):
        result.into(other)
    assert_same_state(before, state(other))
    result.into(image_model(Single()))  # any weights: the result brings its own


def test_other_tensors_are_refused() -> None:
    result = shrunk(image_model(Single()), torch.randn(2, *IMAGES))
    wide = Single()
    wide.fc = nn.Linear(128, 6)
    with pytest.raises(UsageError, match=r"fc\.weight of the model is \(6, 128\)"):
        result.into(wide)
    lacking = Single()
    del lacking.conv
    with pytest.raises(UsageError, match=r"the model has no conv\."):
        result.into(lacking)
    more = Single()
    more.more = nn.Linear(1, 1)
    with pytest.raises(UsageError, match=r"the model has more\."):
        result.into(more)
    twice = image_model(Single())
    result.into(twice)
    with pytest.raises(UsageError, match="as it was before compression"):
        result.into(twice)


class Broken(Single):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not today")


def test_a_model_that_does_not_run_is_refused() -> None:
    result = shrunk(image_model(Single()), torch.randn(2, *IMAGES))
    with pytest.raises(UsageError, match=r"Broken does not run .*not today"):
        result.into(Broken())


def test_an_interruption_leaves_the_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = image_model(Single())
    result = shrunk(copy.deepcopy(model), torch.randn(2, *IMAGES))
    before = state(model)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        result.into(model)
    monkeypatch.undo()
    assert_same_state(before, state(model))


def test_ties_gradients_and_modes() -> None:
    model = Tied()
    inputs = torch.randn(2, 6)
    result = shrunk(copy.deepcopy(model), inputs)
    model(inputs).sum().backward()
    model.one.eval()
    result.into(model)
    assert model.one.weight is model.two.weight
    assert model.one.weight.shape == (8, 8)
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, False, True]
    assert all(p.grad is None for p in model.parameters())
    assert (model.training, model.one.training, model.two.training) == (True, False, True)


def test_parametrized_weights() -> None:
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    parametrizations.weight_norm(model[0])
    own = copy.deepcopy(model).eval()
    result = shrunk(model, torch.randn(2, 6))
    result.into(own)
    inputs = torch.randn(5, 6)
    torch.testing.assert_close(own(inputs), result.model(inputs))
    assert own.get_submodule("0").weight.shape == (8, 6)  # type: ignore[union-attr]


def test_fine_tuned_values_are_taken() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    data = (torch.randn(64, 6), torch.randint(0, 3, (64,)))
    config = CompressConfig(finetune=FinetuneConfig(lr=0.05), batch_size=16, evaluate=False)
    result = compress(model, data[0][:2], method="l2", data=data, finetune_epochs=1, config=config)
    fresh = compress(model, data[0][:2], method="l2").model
    result.into(model)
    assert torch.equal(model[0].weight, result.model.get_parameter("0.weight"))
    assert torch.equal(model[1].running_mean, result.model.get_buffer("1.running_mean"))
    assert not torch.equal(model[0].weight, fresh.get_parameter("0.weight"))


def test_apply_on_a_submodule() -> None:
    outer = nn.ModuleDict({"inner": image_model(Twin())})
    result = shrunk(outer["inner"], torch.randn(2, *IMAGES))
    apply(outer["inner"], result.stages.small, result.stages.analysis, seed=3)
    assert count(outer) == count(result.model)
