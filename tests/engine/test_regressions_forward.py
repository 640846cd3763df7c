"""What models compute on the way besides their layers: tables, random numbers, losses, slices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune import compress
from graphprune.capturing.capture import capture
from graphprune.compressed import Compressed
from graphprune.errors import ModelError


def _halved(model: nn.Module, inputs: object) -> Compressed:
    result = compress(model.eval(), inputs, method="l2", target="channels=0.5")
    assert isinstance(result, Compressed)
    assert result.certificate.passed
    return result


def _shape(result: Compressed, parameter: str) -> tuple[int, ...]:
    return tuple(result.model.get_parameter(parameter).shape)


class _Sines(nn.Module):
    """A positional encoding that is computed on every call, written into zeros in steps of two."""

    def __init__(self, features: int = 16) -> None:
        super().__init__()
        self.features = features
        self.first = nn.Linear(5, features)
        self.norm = nn.LayerNorm(features)
        self.last = nn.Linear(features, 3)

    def table(self, length: int) -> torch.Tensor:
        position = torch.arange(length).unsqueeze(1)
        rate = torch.exp(torch.arange(0, self.features, 2) * (-math.log(1e4) / self.features))
        table = torch.zeros(length, self.features)
        table[:, 0::2] = torch.sin(position * rate)
        table[:, 1::2] = torch.cos(position * rate)
        return table

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x) + self.table(x.shape[1]).to(x)))


def test_table_computed_in_forward(tmp_path: Path) -> None:
    """Sines of arange met the channels as something of fixed size, and all stayed."""
    result = _halved(_Sines(), torch.randn(2, 6, 5))
    assert _shape(result, "first.weight") == (8, 5)
    assert _shape(result, "last.weight") == (3, 8)
    result.save(tmp_path / "out", latency=False)


class _SinesOfMask(nn.Module):
    """Positions counted in a mask of ones, one for each example (DETR)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 2, 2)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        mask = torch.ones(x.shape[0], *x.shape[-2:], device=x.device)
        rows, columns = mask.cumsum(1), mask.cumsum(2)
        rate = 10 ** torch.arange(2.0)
        angles = [one[..., None] / rate for one in (rows, columns)]
        table = torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], -1)
        return self.last(torch.relu(x + table.permute(0, 3, 1, 2)))


def test_table_for_every_example() -> None:
    """A table that is repeated along a free batch is the same for each example."""
    result = _halved(_SinesOfMask(), torch.randn(3, 3, 8, 8))
    assert _shape(result, "last.weight") == (4, 4, 1, 1)
    assert result.model(torch.randn(5, 3, 8, 8)).shape == (5, 4, 4, 4)


class _Blur(nn.Module):
    """A depthwise filter that is laid out for as many channels as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        line = torch.tensor([1.0, 2.0, 1.0])
        kernel = (line[:, None] * line)[None, None].repeat(x.size(1), 1, 1, 1) / 16
        return self.last(F.conv2d(x, kernel, padding=1, groups=x.size(1)))


def test_filter_made_in_forward() -> None:
    """A filter of numbers fixed the channels that it is repeated for."""
    result = _halved(_Blur(), torch.randn(2, 3, 9, 9))
    assert _shape(result, "last.weight") == (2, 4, 3, 3)


class _Step(nn.Module):
    """A table into which an input is written is no constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = torch.arange(8.0).repeat(3, 1)
        before = table * 2
        table[0] = x.mean()
        return self.last(torch.relu(self.first(x)) + table.sum(0) + before.sum(0))


def test_table_written_with_inputs() -> None:
    """What is folded is what nothing else writes to; the outputs stay those of the model."""
    model, x = _Step().eval(), torch.randn(2, 4)
    result = compress(model, x, method="l2", target="params=0.99")
    assert isinstance(result, Compressed)
    assert torch.allclose(result.stages.dense.module(x), model(x), atol=1e-5)


class _Sampled(nn.Module):
    """The variational autoencoder of PyTorch's examples: it samples in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mean = nn.Linear(6, 16), nn.Linear(16, 4)
        self.deviation, self.last = nn.Linear(16, 4), nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        deviation = self.deviation(x).exp()
        return self.last(self.mean(x) + torch.randn_like(deviation) * deviation)


def test_random_numbers_in_evaluation(tmp_path: Path) -> None:
    """Two runs drew differently, so the certificate failed; draws keep their size and are alike."""
    result = _halved(_Sampled(), torch.randn(3, 6))
    assert _shape(result, "first.weight") == (8, 6)
    assert _shape(result, "last.weight") == (6, 4)
    result.save(tmp_path / "out", onnx=False, latency=False)
    with pytest.raises(ModelError, match=r"randn_like.* draws random numbers .*--no-onnx"):
        result.save(tmp_path / "onnx")


class _AlwaysDropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.layers[1](torch.relu(self.layers[0](x))))
        return self.layers[2](F.dropout(x, 0.2, training=True))


def test_dropout_in_evaluation() -> None:
    """Dropout that is always on draws a number for each channel, which all stay; others go."""
    result = _halved(_AlwaysDropping(), torch.randn(3, 6))
    assert _shape(result, "layers.1.weight") == (16, 8)


class _Normalising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.sub_(0.5)
        x[:, 0] = x[:, 0] / 0.2
        return self.last(torch.relu(self.first(x)))


def test_inputs_written_in_place() -> None:
    """The second of two runs on one tensor got other inputs, and the certificate failed."""
    x = torch.rand(2, 3, 6, 6)
    kept = x.clone()
    model = _Normalising()
    result = _halved(model, x)
    assert _shape(result, "last.weight") == (2, 4, 1, 1)
    result.model(x)
    assert torch.equal(x, kept)
    result.into(model)
    assert model.first.out_channels == 4


class _Compared(nn.Module):
    """Features compared by a loss in forward, as of a VQ-VAE."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one, two = self.one(x), self.two(x)
        loss = F.mse_loss(one, two.detach()) + F.smooth_l1_loss(one, two, reduction="sum")
        return self.last(one), loss + F.binary_cross_entropy_with_logits(one, two.sigmoid())


def test_losses_of_features() -> None:
    """A mean over channels inside of a loss held all of them."""
    result = _halved(_Compared(), torch.randn(3, 6))
    assert _shape(result, "one.weight") == _shape(result, "two.weight") == (4, 6)


class _EveryTwo(nn.Module):
    """Rotary embedding of neighbours, by strided slices (GPT-J)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.out = nn.Linear(6, 16), nn.Linear(6, 16), nn.Linear(5, 2)
        self.register_buffer("angle", torch.rand(4))

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        x = x.view(*x.shape[:2], 2, 8)
        turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
        sin, cos = (f(self.angle).repeat_interleave(2) for f in (torch.sin, torch.cos))
        return (x * cos + turned * sin).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out((self.rotate(self.q(x)) @ self.rotate(self.k(x)).mT).mean(1))


def test_strided_slices_take_runs() -> None:
    """Every second element of a dimension pinned all of it; neighbours go as pairs."""
    kept = _halved(_EveryTwo(), torch.randn(2, 5, 6)).plan.kept["q.weight"][0]
    assert len(kept) == 8
    assert [place // 2 for place in kept[::2]] == [place // 2 for place in kept[1::2]]


def test_dropout_of_whole_features() -> None:
    """Switched off, it does nothing; it was taken for chance."""
    model = nn.Sequential(nn.Linear(4, 8), nn.FeatureAlphaDropout(), nn.Linear(8, 2))
    assert _shape(_halved(model, torch.randn(2, 4)), "2.weight") == (2, 4)


@dataclass
class _Given:
    x: torch.Tensor
    scale: float


@dataclass
class _Answer:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class _Dataclasses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, given: _Given) -> _Answer:
        return _Answer(self.last(torch.relu(self.first(given.x)) * given.scale))


def test_dataclasses_that_torch_does_not_know() -> None:
    """Inputs and outputs of the user's own dataclasses were refused until they were registered."""
    given = _Given(torch.randn(2, 6), 0.5)
    result = _halved(_Dataclasses(), (given,))
    assert _shape(result, "last.weight") == (2, 4)
    assert result.model(given).logits.shape == (2, 2)


class _Deformed(nn.Module):
    """Features gathered at positions of their own, laid out for every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        self.where = nn.Conv2d(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.first(x).flatten(2)
        b, c, n = found.shape
        index = self.where(x).sigmoid().mul(n - 1).round().long()
        index = index.expand(-1, c, -1, -1).contiguous().view(b, c, -1)
        return self.last(found.gather(-1, index).view(b, c, *x.shape[2:]))


def test_positions_repeated_for_every_channel() -> None:
    """An index that a free batch went into held all channels that it was repeated for."""
    x = torch.randn(2, 3, 5, 5)
    assert _shape(_halved(_Deformed(), x), "last.weight") == (2, 4, 1, 1)


class _Back(nn.Module):
    """A mask on a spectrogram, and back to a waveform."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(9, 12), nn.Linear(12, 9)
        self.register_buffer("window", torch.hann_window(16))

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        seen = torch.stft(wave, 16, 4, window=self.window, return_complex=True)
        mask = self.last(torch.relu(self.first(seen.abs().mT))).mT.sigmoid()
        return torch.istft(seen * mask, 16, 4, window=self.window, length=wave.shape[-1])


def test_a_call_that_looks_at_values_is_counted() -> None:
    """MACs are counted on tensors without values, but istft looks at those of its window."""
    report = _halved(_Back(), torch.randn(2, 64)).report
    assert report.models["pruned"].macs < report.models["dense"].macs


class _AnyArguments(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, *given: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(sum(given, start=more["shift"]))))


def test_any_arguments_keep_a_free_batch() -> None:
    """``*args`` and ``**kwargs`` are single parameters to torch.export; the batch was fixed."""
    x = torch.randn(2, 6)
    model = _AnyArguments()
    captured = capture(model, ((x, x), {"shift": x}))
    assert captured.batch_dims == (0, 0, 0)
    assert "forward" not in vars(model)


class _Gaussian(nn.Module):
    """The head of an agent; a distribution checks its parameters, which is a branch on values."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mean, self.spread = nn.Linear(8, 16), nn.Linear(16, 2), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.relu(self.first(x))
        spread = F.softplus(self.spread(h)) + 0.1
        policy = torch.distributions.Normal(self.mean(h), spread)
        return policy.mean, policy.log_prob(torch.zeros(2)).sum(-1)


def test_distributions_are_captured_and_check_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    # Compiling something in the same process turns the checks off for good.
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)
    result = _halved(_Gaussian(), torch.randn(4, 8))
    assert _shape(result, "first.weight") == (8, 8)
    with pytest.raises(ValueError, match="constraint"):
        torch.distributions.Normal(0.0, -1.0)


def test_a_result_shows_itself_in_one_line() -> None:
    result = _halved(_Gaussian(), torch.randn(4, 8))
    assert repr(result) == "<Compressed _Gaussian: 212 parameters to 108>"
