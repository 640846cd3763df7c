"""Finding parts, pruning them and putting them back, on small models with traps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from partial_models import (
    Branches,
    Cached,
    Generator,
    HardCoded,
    Pyramid,
    Reader,
    Stubborn,
    block,
)
from torch import nn

from graphprune import CompressConfig, compress
from graphprune.delivery.measure import count_parameters
from graphprune.errors import ModelError, TargetError, UsageError
from graphprune.partial.result import PartialCompressed


def in_parts(model: nn.Module, x: Any, target: str = "channels=0.5") -> PartialCompressed:
    before = copy.deepcopy(model)
    result = compress(model, x, method="l2", target=target)
    assert isinstance(result, PartialCompressed)
    assert result.certificate.passed
    assert type(result.model) is type(model)
    for (name, old), new in zip(
        before.state_dict().items(), model.state_dict().values(), strict=True
    ):
        assert torch.equal(old, new), name
    return result


def test_what_is_not_called_is_left_alone() -> None:
    result = in_parts(Branches(), torch.randn(4, 6))
    assert set(result.parts) == {"stem", "left"}
    left = {row.name: row.reason for row in result.report.left}
    assert "no channel begins" in left["out"]
    assert any(name.startswith("right") for name in left)
    assert result.model.left[0].out_features == 8
    assert result.model.right[0].out_features == 16
    assert result.report.captured == "partial"
    assert "partial_models.py" in result.report.why


def test_a_generate_loop_works_at_every_length() -> None:
    model = Generator().eval()
    result = in_parts(model, torch.randint(0, 20, (2, 3)))
    assert result.parts["net"].calls == 5
    assert result.parts["net"].shapes == 5
    assert result.parts["net"].how == "class"
    assert 9 < result.model(torch.randint(0, 20, (1, 9))).shape[1] <= 14


def test_a_part_called_at_two_sizes() -> None:
    result = in_parts(Pyramid(), torch.randn(2, 3, 12, 12))
    assert result.parts["part"].shapes == 2
    assert result.whole.calls == 6
    assert result.whole.end_to_end is not None
    assert result.model.part[0].out_channels == 6
    assert result.model(torch.randn(1, 3, 20, 30))[0].shape == (1, 3, 18, 28)


def test_what_others_read_stays_whole_and_shared() -> None:
    result = in_parts(Reader(), torch.randn(4, 6))
    model: Any = result.model
    # Only `free` has inner channels that nothing else reads.
    assert set(result.parts) == {"free"}
    assert model.free[0].out_features == 8
    assert model.read[0].out_features == model.first[0].out_features == 16
    assert model.first[0].weight is model.second[0].weight


def test_a_hard_coded_size_is_served_by_a_graph_of_one_shape() -> None:
    result = in_parts(HardCoded(calls=1), torch.randn(2, 4, 6))
    assert {name: placed.how for name, placed in result.parts.items()} == {
        "part": "graph",
        "other": "class",
    }
    assert result.model(torch.randn(5, 4, 6)).shape == (5, 4, 6)
    with pytest.raises(ModelError, match="fixed graph") as error:
        result.model(torch.randn(2, 7, 6))
    assert "\n" not in str(error.value)
    assert any("part: put back as a graph" in note for note in result.report.notes)


def test_a_hard_coded_size_called_at_two_shapes_is_left_alone() -> None:
    result = in_parts(HardCoded(calls=2), torch.randn(2, 4, 6))
    assert set(result.parts) == {"other"}
    assert "2 unlike shapes" in next(r.reason for r in result.report.left if r.name == "part")


def test_a_failed_attempt_leaves_no_fake_tensor_behind() -> None:
    model = Cached()
    result = in_parts(model, torch.randn(3, 6))
    assert set(result.parts) == {"part"}
    assert not model.cache
    assert model(torch.randn(3, 6)).shape == (3, 6)


@pytest.mark.parametrize("target", ["params=0.6", "macs=0.6"])
def test_the_budget_is_that_of_the_whole_model(target: str) -> None:
    torch.manual_seed(0)
    model = Branches()
    for name in ("stem", "left"):
        setattr(model, name, nn.Sequential(nn.Linear(6, 300), nn.ReLU(), nn.Linear(300, 6)))
    result = in_parts(model, torch.randn(4, 6), target)
    kind = target.partition("=")[0]
    assert result.report.reached[kind] == pytest.approx(0.6, abs=0.01)
    dense, pruned = result.report.models["dense"], result.report.models["pruned"]
    assert dense.parameters == count_parameters(model)
    assert pruned.parameters == count_parameters(result.model)
    assert dense.macs == 4 * (4 * 6 * 300 + 6 * 3)


class _Spare(nn.Sequential):
    """A block that also holds weights which its forward never reads."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 6))
        self.spare = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self[2](self[1](self[0](x)))
        return answer


def test_what_a_part_never_reads_stays_and_counts() -> None:
    torch.manual_seed(0)
    model = Branches()
    for name in ("stem", "left"):
        setattr(model, name, _Spare())
    result = in_parts(model, torch.randn(4, 6), "params=0.7")
    assert result.report.reached["params"] == pytest.approx(0.7, abs=0.01)
    assert count_parameters(result.model) == pytest.approx(0.7 * count_parameters(model), rel=0.02)


def test_an_unreachable_budget_says_what_is_possible() -> None:
    with pytest.raises(TargetError, match="cannot be reached") as error:
        compress(Branches(), torch.randn(4, 6), method="l2", target="params=0.01")
    assert "\n" not in str(error.value)


def test_nothing_to_capture_ends_with_the_reason_and_the_line() -> None:
    with pytest.raises(ModelError, match=r"partial_models\.py:\d+: if float") as error:
        compress(Stubborn(), torch.randn(4, 6), method="l2")
    assert "\n" not in str(error.value)


def test_inputs_that_do_not_run_get_the_first_error() -> None:
    with pytest.raises(ModelError, match="check that the example inputs run"):
        compress(Branches(), torch.randn(4, 7), method="l2")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"method": "dirichlet"}, "dirichlet needs the whole model"),
        (
            {"finetune_epochs": 1},
            "fine-tuning, --recalibrate and --reconstruct need the whole model",
        ),
        ({"config": CompressConfig(recalibrate=True)}, "fine-tuning, --recalibrate"),
        ({"config": CompressConfig(reconstruct=True)}, "fine-tuning, --recalibrate"),
        ({"config": CompressConfig(ranking="global")}, "ranking global compares groups"),
    ],
)
def test_what_needs_the_whole_graph_is_refused(options: dict[str, Any], wanted: str) -> None:
    data = (torch.randn(8, 6), torch.randint(0, 3, (8,)))
    with pytest.raises(UsageError, match=wanted) as error:
        compress(Branches(), torch.randn(4, 6), data=data, **options)
    assert "\n" not in str(error.value)


def test_auto_with_data_says_that_they_are_not_used() -> None:
    data = (torch.randn(8, 6), torch.randint(0, 3, (8,)))
    result = compress(Branches(), torch.randn(4, 6), data=data)
    assert isinstance(result, PartialCompressed)
    assert result.report.method == "l2"
    assert any("data are not used" in note for note in result.report.notes)


class SharedPart(nn.Module):
    """A submodule that stands in a part and by itself, and is called in both places."""

    def __init__(self) -> None:
        super().__init__()
        self.look = block()
        self.part = nn.Sequential(nn.Linear(6, 6), self.look)
        self.out = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.part(x)
        if y.sum() > 1e9:  # as torch.export cannot tell
            return self.out(y)
        return self.out(y + self.look(x))


def test_a_submodule_in_two_places_is_one_part() -> None:
    """ValueError: it has two names, of which one was not found."""
    result = in_parts(SharedPart(), torch.randn(4, 6))
    assert list(result.parts) == ["look"]
    assert result.model.look is result.model.part[1]
    x = torch.randn(3, 6)
    assert result.model(x).shape == (3, 2)
    inner = [m for m in result.model.look.modules() if isinstance(m, nn.Linear)]
    assert inner[0].out_features == 8


class Conditional(nn.Module):
    """Conditional are graphs of their own in what torch.export makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = torch.cond(x.mean() > 0, self.left, self.right, (x,))
        return answer


def test_branches_within_the_graph_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"torch\.cond runs graphs of its own"):
        compress(Conditional().eval(), torch.randn(4, 8), method="l2", target="channels=0.5")
