"""What is shown are the right channels' activations, as hooks on the original modules see them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import planted
import pytest
import small_models
import torch
from torch import nn

from graphprune.criteria.base import Evidence
from graphprune.errors import DataError, ModelError, UsageError
from graphprune.features import FeatureConfig, Features, draw_features
from graphprune.importance.learn_config import LearnConfig

EVERY = FeatureConfig(channels=100)


@dataclass(frozen=True)
class Numbered:
    """Importance falls with the channel's number, so that ranks are known."""

    name: ClassVar[str] = "numbered"

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        return {g.name: -torch.arange(float(g.size)) for g in evidence.analysis.groups}


class ChannelsLast(nn.Module):
    """Images with the channels behind: (B, H, W, 3) to (B, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.norm, self.head = nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.mix(x)).mean((1, 2)))


class Heads(nn.Module):
    """Attention with separate projections: (B, T, 8) to (B, T, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (one(x).unflatten(2, (2, 4)).transpose(1, 2) for one in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 4)
    )


def conv1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 4)
    )


def conv3d() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 12, 4))


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4))


Take = Callable[[torch.Tensor, int], torch.Tensor]


def front(value: torch.Tensor, channel: int) -> torch.Tensor:
    return value[channel]


def behind(value: torch.Tensor, channel: int) -> torch.Tensor:
    return value[..., channel]


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str, str, Take]] = {
    "conv": (conv, (3, 6, 6), "0.weight", "1", front),
    "signal": (conv1d, (2, 9), "0.weight", "0", front),
    "volume": (conv3d, (1, 4, 4, 5), "0.weight", "0", front),
    "linear": (linear, (5,), "0.weight", "0", front),
    "channels-last": (ChannelsLast, (4, 5, 3), "mix.weight", "mix", behind),
    "values": (Heads, (6, 8), "v.weight", "v", behind),
}


def hooked(model: nn.Module, module: str, inputs: torch.Tensor) -> torch.Tensor:
    """What a submodule answers to the inputs."""
    caught: list[torch.Tensor] = []
    handle = model.get_submodule(module).register_forward_hook(lambda *a: caught.append(a[2]))
    with torch.no_grad():
        model(inputs)
    handle.remove()
    return caught[0]


def shown(features: Features) -> dict[str, dict[int, list[np.ndarray]]]:
    """By group and channel, the values for each example."""
    return {
        group.name: {
            channel.number: [one.values for one in channel.activations]
            for channel in (*group.most, *group.least)
        }
        for group in features.groups
    }


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_activations_are_those_of_the_original_module(case: str) -> None:
    make, shape, group, module, take = CASES[case]
    torch.manual_seed(0)
    model = make().eval()
    x = torch.randn(3, *shape)
    found = draw_features(model, x, method="l2", config=EVERY)
    original = hooked(model, module, x)
    channels = shown(found)[group]
    assert len(channels) == next(g.size for g in found.groups if g.name == group)
    assert set(channels) == set(range(len(channels)))
    for number, values in channels.items():
        assert len(values) == 2
        for example, seen in enumerate(values):
            wanted = take(original[example], number).numpy()
            np.testing.assert_allclose(seen, wanted, rtol=1e-5, atol=1e-6)


def test_queries_and_keys_of_one_projection_are_both_shown() -> None:
    torch.manual_seed(0)
    model = nn.MultiheadAttention(8, 2, batch_first=True).eval()

    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.attention = nn.Linear(5, 8), model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.embed(x)
            return self.attention(x, x, x, need_weights=False)[0]

    network, x = SelfAttention().eval(), torch.randn(2, 6, 5)
    config = FeatureConfig(channels=100, count=1)
    found = draw_features(network, x, method="l2", config=config)
    embedded = hooked(network, "embed", x)
    joint = embedded @ model.in_proj_weight.T + model.in_proj_bias
    (group,) = (g for g in found.groups if g.name == "attention.in_proj_weight")
    seen = [c.activations[0].values for c in (*group.most, *group.least)]
    queries, keys, values = (joint[0, :, n * 8 : n * 8 + 8].detach().numpy() for n in range(3))
    pairs = [np.stack([queries[:, n], keys[:, n]]) for n in range(8)]
    singles = [values[:, n] for n in range(8)]
    for wanted in (*pairs, *singles):
        fits = [one for one in seen if one.shape == wanted.shape and np.allclose(one, wanted, 1e-4)]
        assert len(fits) == 1


def test_ends_of_the_ranking_are_shown_with_their_ranks() -> None:
    torch.manual_seed(0)
    found = draw_features(
        conv(), torch.randn(2, 3, 6, 6), method=Numbered(), config=FeatureConfig(channels=2)
    )
    (group,) = found.groups
    assert [(c.number, c.rank, c.importance) for c in group.most] == [(0, 1, 0), (1, 2, -1)]
    assert [(c.number, c.rank, c.importance) for c in group.least] == [(4, 5, -4), (5, 6, -5)]
    assert group.separated is None
    assert group.most[0].interval is None


def test_no_channel_is_at_both_ends() -> None:
    found = draw_features(linear(), torch.randn(2, 5), method=Numbered(), config=EVERY)
    (group,) = found.groups
    assert [c.number for c in group.most] == [0, 1, 2, 3]
    assert [c.number for c in group.least] == [4, 5, 6]


@pytest.mark.parametrize(
    ("name", "method"),
    [("plain", "dirichlet"), *((name, "taylor") for name in sorted(planted.PLANTED))],
)
def test_planted_channels_are_the_least_important(name: str, method: str) -> None:
    network = planted.PLANTED[name]()
    x = torch.cat([inputs[0] for inputs, _ in network.data])
    most = max(len(kinds.all) for kinds in network.groups.values())
    config = FeatureConfig(
        channels=most, batch_size=16, learn=LearnConfig(epochs=15, kl_weight=0.03)
    )
    program = network.captured.module
    found = draw_features(program, x[:2], x, method=method, config=config)
    for group in found.groups:
        if group.name not in network.groups:
            continue
        kinds = network.groups[group.name]
        last = [channel.number for channel in group.least][-len(kinds.all) :]
        assert sorted(last) == sorted(kinds.all)
        silent = [c for c in group.least if c.number in kinds.silent]
        assert all(one.unread for channel in silent for one in channel.activations)
        assert not any(one.unread for channel in group.most for one in channel.activations)
        if method == "dirichlet":
            assert group.separated is not None
            assert all(c.interval[0] <= c.importance <= c.interval[1] for c in group.least)


def test_examples_come_from_the_held_out_data() -> None:
    x, y = torch.randn(40, 5), torch.arange(40) % 4
    held = torch.randn(9, 5)
    labels = torch.tensor([2, 2, 2, 1, 2, 0, 1, 1, 1])
    data = tuple(torch.utils.data.TensorDataset(*pair) for pair in ((x, y), (held, labels)))
    model = linear()

    def inputs(**options: Any) -> tuple[list[int | None], list[np.ndarray]]:
        config = FeatureConfig(batch_size=8, **options)
        found = draw_features(model, x[:2], data, method="l2", config=config)
        return [one.label for one in found.inputs], [one.values for one in found.inputs]

    chosen, values = inputs(count=3)
    assert chosen == [2, 1, 0]
    np.testing.assert_array_equal(values, held[[0, 3, 5]])
    chosen, values = inputs(examples=(8, 0))
    assert chosen == [1, 2]
    np.testing.assert_array_equal(values, held[[8, 0]])
    chosen, values = inputs(count=5)
    assert len(chosen) == 5
    with pytest.raises(UsageError, match="examples 0 to 8"):
        inputs(examples=(9,))


def test_inputs_of_the_users_own_are_shown_instead() -> None:
    x, own = torch.randn(40, 5), torch.randn(3, 5)
    model = linear().eval()
    config = FeatureConfig(channels=100, count=3)
    found = draw_features(model, x[:2], x, method="l2", inputs=own, config=config)
    np.testing.assert_array_equal([one.values for one in found.inputs], own)
    original = hooked(model, "0", own)
    for number, values in shown(found)["0.weight"].items():
        np.testing.assert_allclose(values, original[:, number], rtol=1e-5)
    with pytest.raises(DataError):
        draw_features(model, x[:2], x, method="l2", inputs=torch.randn(3, 6))


def test_a_model_of_one_batch_size_is_shown_one_example_at_a_time() -> None:
    class FourOnly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head = nn.Linear(5, 7), nn.Linear(7, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.hidden(x.reshape(4, 5))))

    model, x = FourOnly().eval(), torch.randn(40, 5)
    found = draw_features(model, x[:4], x, method="l2", config=EVERY)
    examples = torch.from_numpy(np.stack([one.values for one in found.inputs]))
    assert any(torch.equal(examples[0], row) for row in x)
    wanted = model.hidden(examples).detach()
    for number, values in shown(found)["hidden.weight"].items():
        np.testing.assert_allclose(values, wanted[:, number], rtol=1e-5)


def test_groups_are_spread_over_the_graph_or_named() -> None:
    layers = [part for _ in range(6) for part in (nn.Linear(5, 5), nn.Tanh())]
    model, x = nn.Sequential(*layers, nn.Linear(5, 2)), torch.randn(2, 5)
    some = draw_features(model, x, method="l2", config=FeatureConfig(max_groups=3))
    assert [group.name for group in some.groups] == ["0.weight", "4.weight", "10.weight"]
    assert some.found == 6
    names = ("6.weight", "2.weight")
    named = draw_features(model, x, method="l2", config=FeatureConfig(groups=names))
    assert [group.name for group in named.groups] == ["2.weight", "6.weight"]
    with pytest.raises(UsageError, match="'nothing' is not one of those"):
        draw_features(model, x, method="l2", config=FeatureConfig(groups=("nothing",)))


def test_a_group_is_shown_where_the_user_says() -> None:
    torch.manual_seed(0)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.head = (
                nn.Linear(5, 6),
                nn.Linear(6, 6),
                nn.Linear(6, 3),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.head(torch.relu(x + self.inner(torch.tanh(x))))

    model, x = Residual().eval(), torch.randn(2, 5)
    stem = hooked(model, "stem", x)
    inner = hooked(model, "inner", x)
    wanted = {"linear": stem, "linear_1": inner, "relu": torch.relu(stem + inner)}
    wanted["add"] = stem + inner

    def look(*at: str) -> tuple[str, bool, tuple[str, ...]]:
        found = draw_features(model, x, method="l2", config=FeatureConfig(channels=100, at=at))
        (group,) = found.groups
        for number, values in shown(found)[group.name].items():
            np.testing.assert_allclose(values, wanted[group.node][:, number], rtol=1e-4, atol=1e-6)
        return group.node, group.scaled, group.others

    assert look() == ("linear", True, ("linear_1",))
    assert look("linear_1") == ("linear_1", True, ("linear",))
    assert look("relu") == ("relu", False, ("linear", "linear_1"))
    assert look("add") == ("add", False, ("linear", "linear_1"))
    with pytest.raises(UsageError, match="node 'add_7'"):
        look("add_7")


def test_trained_weights_are_the_ones_shown() -> None:
    torch.manual_seed(0)
    model, x = linear(), torch.randn(40, 5)
    config = FeatureConfig(batch_size=8, learn=LearnConfig(epochs=5))
    found = draw_features(model, x[:2], (x, torch.arange(40) % 4), method="vcnp", config=config)
    assert any("trained" in note for note in found.notes)
    (group,) = found.groups
    examples = torch.from_numpy(np.stack([one.values for one in found.inputs]))
    original = hooked(model, "0", examples)[:, group.most[0].number]
    seen = np.stack([one.values for one in group.most[0].activations])
    assert not np.allclose(seen, original, rtol=1e-3)


@pytest.mark.parametrize(
    "options", [{"channels": 0}, {"count": 0}, {"max_groups": 0}, {"token_grid": (0, 0, 3)}]
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        FeatureConfig(**options)


def test_a_model_without_channels_to_rank_is_refused() -> None:
    with pytest.raises(ModelError, match="no channels of this model can go"):
        draw_features(nn.Linear(3, 2), torch.randn(2, 3), method="l2")


def test_a_page_of_too_many_maps_is_refused() -> None:
    config = FeatureConfig(channels=1000, count=1000)
    with pytest.raises(UsageError, match="ask for fewer"):
        draw_features(linear(), torch.randn(2000, 5), method="l2", config=config)


class Experts(nn.Module):
    """Each example goes to one of two layers; the second is never chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, 8), nn.Linear(6, 4)
        self.experts = nn.ModuleList(nn.Linear(8, 6) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        chosen = (x[:, 0] < 0).long()
        out = x.new_zeros(x.shape[0], 6)
        for number, expert in enumerate(self.experts):
            rows = torch.where(chosen == number)[0]
            out = out.index_add(0, rows, expert(x[rows]).relu())
        return self.head(out)


def test_a_layer_that_an_input_does_not_reach() -> None:
    # One of the two comes to nothing whichever way; the group may be shown at either.
    torch.manual_seed(0)
    model, x = Experts().eval(), torch.randn(4, 5)
    for node in ("linear_1", "linear_2"):
        config = dataclasses.replace(EVERY, at=(node,))
        page = draw_features(model, x, method="l2", config=config).to_html()
        assert ("no values for this input" in page) == (node == "linear_2")


@pytest.mark.parametrize("count", [1, 5])
def test_channels_beside_the_batch(count: int) -> None:
    torch.manual_seed(0)
    model = small_models.Merged().eval()
    found = draw_features(model, torch.randn(count, 6, 8), method="l2", config=EVERY)
    read = [one.unread for g in found.groups for channel in g.most for one in channel.activations]
    assert read
    assert None not in read
